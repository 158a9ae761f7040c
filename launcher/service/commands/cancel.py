"""`sgl-launch cancel NAME`: all jobs of a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from launcher.base.counting import counted
from launcher.commands.cancel import command as core
from launcher.service.commands.wrapped import is_service, wrapped


def cancel(job: str, timeout: float, runs: Path) -> Any:
    if not is_service(job, runs):
        if core.callback:
            core.callback(job=job, timeout=timeout, runs=runs)
        return _end_pieces(job, runs, timeout)
    from launcher.service.end import end_all

    ended = end_all(job, runs.absolute(), timeout)
    return click.echo(f"service {job} ended: {counted(len(ended), 'job')} {', '.join(ended)}".rstrip())


def _end_pieces(job: str, runs: Path, timeout: float) -> None:
    """Of a deployment that has ended now."""
    from launcher.run.find import find_run
    from launcher.run.state import is_local
    from launcher.service.pieces import end_pieces

    run = find_run(job, runs)
    if not is_local(run) and (ended := end_pieces(run, timeout)):
        click.echo(f"its {counted(len(ended), 'piece')} ended: {', '.join(ended)}")


command = wrapped(core, cancel)
