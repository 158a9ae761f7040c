"""The end of a service: all of its jobs, those that wait too, and its keys."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from launcher.base.errors import WorkError
from launcher.base.programs import run_command
from launcher.front.keys import service_folder
from launcher.run.slurm import environment
from launcher.service.link import COMMENT
from launcher.service.links import links

_AGAIN = 1.0  # seconds between two questions


def queued(name: str) -> list[str]:
    """Ids of the service's jobs that Slurm has not ended, the newest first. Raises WorkError."""
    code, output = run_command(["squeue", "--me", "-h", "-o", "%i|%k"], 20.0, environment())
    if code:
        raise WorkError(f"squeue: {' '.join(output.split())}")
    pairs = [line.strip().partition("|") for line in output.splitlines()]
    ids = {job.partition("+")[0] for job, _, comment in pairs if comment == COMMENT.format(name)}
    return sorted(ids, key=int, reverse=True)


def end_all(name: str, runs: Path, timeout: float) -> list[str]:
    """End all jobs of a service and see that they have ended; returns their ids. Raises WorkError after `timeout`
    seconds. The newest are ended first, and the queue is looked at again: a job may have queued the next one just
    then."""
    deadline, told = time.monotonic() + timeout, set[str]()
    while left := queued(name):
        for job in left:
            if job not in told:
                told.add(job)
                code, output = run_command(["scancel", job], 20.0, environment())
                if code and "invalid job id" not in output.lower():
                    raise WorkError(f"scancel {job}: {' '.join(output.split())}")
        if time.monotonic() > deadline:
            raise WorkError(f"jobs {', '.join(left)} of {name} have not ended {timeout:.0f} s after they were told to")
        time.sleep(_AGAIN)
    for link in links(name, runs):
        shutil.rmtree(link.run.path / "secrets", ignore_errors=True)
    shutil.rmtree(service_folder(runs, name), ignore_errors=True)
    return sorted(told, key=int)
