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
        return core.callback and core.callback(job=job, timeout=timeout, runs=runs)
    from launcher.service.end import end_all

    ended = end_all(job, runs.absolute(), timeout)
    return click.echo(f"service {job} ended: {counted(len(ended), 'job')} {', '.join(ended)}".rstrip())


command = wrapped(core, cancel)
