"""Processes of this machine, by pid and start time: a pid alone may be somebody else's a moment later."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """What proc(5) says of one: `state` is a letter (T: stopped), `started` is in clock ticks since boot."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    started: int


def look(pid: int) -> Process | None:
    """The process; None if it is gone. A zombie counts as gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    if fields[0] in "ZX":
        return None
    return Process(pid, name, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def own_processes() -> Iterator[Process]:
    """All processes of the calling user."""
    for entry in os.scandir("/proc"):
        try:
            own = entry.name.isdecimal() and entry.stat().st_uid == os.geteuid()
        except OSError:
            continue
        if own and (process := look(int(entry.name))):
            yield process


def arguments_of(pid: int) -> list[str]:
    """Its command line; empty if it can't be read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def environment_of(pid: int) -> dict[str, str]:
    """Its environment as it was started; empty if it can't be read or the process has written over it."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return {name: value for name, equals, value in (word.partition("=") for word in words) if equals}


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if gone."""
    process = look(pid)
    return process.started if process else None


def is_alive(pid: int, started: int | None) -> bool:
    """Whether this very process still runs."""
    return started is not None and start_time(pid) == started


def send(pid: int, started: int | None, number: signal.Signals) -> bool:
    """Send a signal to this very process; False if it is gone."""
    if started is None:
        return False
    try:
        handle = os.pidfd_open(pid)  # from here on the pid is nobody else's
    except ProcessLookupError:
        return False
    except (AttributeError, OSError):  # a kernel before 5.3
        handle = -1
    try:
        if not is_alive(pid, started):
            return False
        if handle < 0:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        if handle >= 0:
            os.close(handle)
    return True
