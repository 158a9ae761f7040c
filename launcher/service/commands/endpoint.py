"""`sgl-launch endpoint NAME`: of the job that serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launcher.commands.endpoint import command as core
from launcher.service.commands.wrapped import current_link, is_service, wrapped


def endpoint(job: str | None, runs: Path, **others: Any) -> Any:
    job = current_link(str(job), runs) if is_service(job, runs) else job
    return core.callback and core.callback(job=job, runs=runs, **others)


command = wrapped(core, endpoint)
