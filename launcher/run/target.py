"""What a command's JOB or JOB|ADDRESS names: a run, an address, or by mistake neither."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from launcher.base.counting import duration
from launcher.base.errors import InputError, WorkError
from launcher.run.find import find_run, is_run, look_up
from launcher.run.folder import RunFolder
from launcher.run.history import History
from launcher.run.state import job_state


def run_or_address(target: str | None, runs: Path) -> RunFolder | None:
    """The run that is meant, which has not ended; None for an address. Raises InputError for a word that is neither,
    WorkError for a run that has ended."""
    if target is not None and not is_run(target, runs):
        if not _is_address(target):
            near = look_up(runs).near(target)
            raise InputError(f"no run named {target!r} in {runs}/, nor a host of that name{near}")
        return None
    run = find_run(target, runs)
    refuse_ended(run)
    return run


def refuse_ended(run: RunFolder) -> None:
    """Raises WorkError that says how and when, if the run has ended."""
    state = job_state(run)
    if not state.ended:
        return
    history = History.read(run, state)
    line = f"{run.path.name} has ended: {state}"
    if history.last:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(history.last))
        line += f" at {at}, {duration(max(time.time() - history.last, 0))} ago"
    raise WorkError(f"{line}; {history.failure_text}" if history.failure_text else line)


def _is_address(word: str) -> bool:
    """By its look, or because a host has that name. A number is a job's id, though old rules make an
    address of it."""
    if word == "localhost" or any(c in word for c in ".:/"):
        return True
    if word.isdecimal():
        return False
    try:
        socket.getaddrinfo(word, None)
    except (OSError, UnicodeError):
        return False
    return True
