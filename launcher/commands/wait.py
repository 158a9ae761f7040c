"""`sgl-launch wait JOB --for STATE`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from launcher.base.counting import duration
from launcher.commands.options import job_argument, runs_option
from launcher.run.find import find_run
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
@runs_option
def command(job: str | None, target: str, timeout: float | None, runs: Path) -> None:
    """Wait until JOB (an id, a name or a run folder; the newest without one) has reached a state.

    A job that is requeued is waited for again. The last line says in which state it is and after how long. Exit
    status 1 if it ends, fails or is cancelled before.
    """
    run, begin = find_run(job, runs), time.monotonic()
    state = wait_for(run, target, timeout, lambda line: click.echo(line, err=True))
    stage, waited = History.read(run, state).stage, duration(time.monotonic() - begin)
    click.echo(f"{run.path.name} is {target}: {state}, stage {stage}; waited {waited}")
