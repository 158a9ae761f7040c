"""`sgl-launch wait JOB --for STATE`."""

from __future__ import annotations

from pathlib import Path

import click

from launcher.commands.options import job_argument, runs_option
from launcher.follow import wait_for
from launcher.runfolder import find_run


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

    Exit status 1 if it ends or fails before.
    """
    wait_for(find_run(job, runs), target, timeout, lambda line: click.echo(line, err=True))
