"""`sgl-launch wait JOB --for STATE`."""

from __future__ import annotations

import time

import click

from launcher.base.counting import duration
from launcher.commands.options import find_its_run, job_argument
from launcher.run.folder import RunFolder
from launcher.run.follow import wait_for
from launcher.run.history import History


@click.command("wait")
@job_argument
@click.option(
    "--for",
    "target",
    type=click.Choice(["ready", "warm", "done"]),
    default="ready",
    show_default=True,
    help="State to wait for.",
)
@click.option("--timeout", type=float, metavar="SECONDS", help="Give up after this.")
@find_its_run
def command(run: RunFolder, target: str, timeout: float | None) -> None:
    """Wait until JOB (an id, a name or a run folder; the newest without one) has reached a state.

    A job that is requeued is waited for again. The last line says in which state it is and after how long. Exit
    status 1 if it ends, fails or is cancelled before.
    """
    begin = time.monotonic()
    state = wait_for(run, target, timeout, lambda line: click.echo(line, err=True))
    stage, waited = History.read(run, state).stage, duration(time.monotonic() - begin)
    click.echo(f"{run.path.name} is {target}: {state}, stage {stage}; waited {waited}")
