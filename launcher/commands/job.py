"""`sgl-launch job ...`: what a job calls on its first node. Not for people. (`job run` is launcher.job.entry.)"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from launcher.run.folder import RunFolder


@click.group("job", hidden=True)
def command() -> None:
    """Parts of a running job."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


@command.command("run")
@click.argument("script", type=click.Path(path_type=Path))
def run(script: Path) -> None:
    """Supervise the job of a script that `sgl-launch render` made."""
    from launcher.job.entry import main

    main(str(script))


@command.command("preflight")
@click.argument("folder", type=click.Path(path_type=Path))
def preflight(folder: Path) -> None:
    """Check the job's nodes; writes preflight.txt and fails if one is bad."""
    from launcher.preflight.stage import preflight_stage

    preflight_stage(RunFolder(folder), lambda text: print(text, file=sys.stderr, flush=True))
