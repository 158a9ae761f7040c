"""The end of a service: all of its jobs, those that wait too, and its keys."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from launcher.base.errors import WorkError
from launcher.front.keys import service_folder
from launcher.run.find import look_up
from launcher.service import queue

_AGAIN = 1.0  # seconds between two questions


def end_all(name: str, runs: Path, timeout: float) -> list[str]:
    """End all jobs of a service and see that they have ended; returns their ids. Raises WorkError after `timeout`
    seconds. The newest are ended first, and the queue is looked at again: a job may have queued the next one just
    then."""
    deadline, told = time.monotonic() + timeout, set[str]()
    while left := queue.queued(runs, name):
        for job in left:
            if job not in told:
                told.add(job)
                try:
                    queue.ask("scancel", job)
                except WorkError as e:
                    if "invalid job id" not in str(e).lower():
                        raise
        if time.monotonic() > deadline:
            raise WorkError(f"jobs {', '.join(left)} of {name} have not ended {timeout:.0f} s after they were told to")
        time.sleep(_AGAIN)
    for run in look_up(runs).runs:
        if run.name == name:
            shutil.rmtree(run.path / "secrets", ignore_errors=True)
    shutil.rmtree(service_folder(runs, name), ignore_errors=True)
    return sorted(told, key=int)
