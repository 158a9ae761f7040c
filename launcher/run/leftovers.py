"""What a local run has left when its script is gone: processes, scratch folders, keys.

A process belongs to a run if it was started with LAUNCH_RUN=<run folder>, if it is in the session of a process that
the run recorded (servers that show a title of their own write over their environment), or if it is a child of one
that does. The run folder must be the caller's own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import time
from collections.abc import Collection, Iterator

from launcher.base.processes import Process, arguments_of, environment_of, look, own_processes, send
from launcher.run.folder import RunFolder
from launcher.run.state import script_process

GRACE = 2.0  # seconds between TERM and KILL
MARKS = ("LAUNCH_RUN", "SGL_JOB_ID")  # the second: runs of earlier versions


def leftovers(run: RunFolder, spare: Collection[int] = ()) -> list[Process]:
    """Processes of this user that belong to the run and still live, but the calling one, those above it, and
    `spare`."""
    recorded, began = _recorded(run), script_process(run)[1] or 0
    folder = os.path.realpath(run.path)
    keep = {*spare, *_line_of(os.getpid())}
    processes = [p for p in own_processes() if p.pid not in keep]
    found: dict[int, Process] = {}
    new = {p.pid: p for p in processes if _belongs(p, folder, recorded, began)}
    while new:
        found |= new
        new = {p.pid: p for p in processes if p.parent in new and p.pid not in found}
    return list(found.values())


def end_leftovers(run: RunFolder, spare: Collection[int] = (), grace: float = GRACE) -> list[Process]:
    """End them: TERM at once, and KILL after `grace` seconds. Takes at most three times that. The job's agent, which
    ends processes and containers itself once the script is gone, gets twice as long. Returns those that had to be ended
    here."""
    ended: dict[int, Process] = {}
    agents: set[int] = set()  # kept: as its last act one becomes the program that removes its folder
    begin = time.monotonic()
    while (left := leftovers(run, spare)) and (waited := time.monotonic() - begin) < 3 * grace:
        for process in left:
            if _is_agent(process.pid, run):
                agents.add(process.pid)
            agent = bool(agents & {process.pid, process.parent})  # itself, or what it uses
            if waited > (2 * grace if agent else grace):
                send(process.pid, process.started, signal.SIGKILL)
            elif process.pid not in ended and not agent:
                send(process.pid, process.started, signal.SIGTERM)
                send(process.pid, process.started, signal.SIGCONT)  # a stopped one would not notice
            if not agent:
                ended[process.pid] = process
        time.sleep(0.05)
    return list(ended.values())


def _is_agent(pid: int, run: RunFolder) -> bool:
    """Whether it is the job's agent: bash -c SCRIPT node MARK JOB RUN ..."""
    words = arguments_of(pid)
    return words[1:2] == ["-c"] and words[3:4] == ["node"] and str(run.path.resolve()) in words[4:]


def clear(run: RunFolder) -> None:
    """Remove the run's keys, and its scratch folder below TMPDIR or /tmp. Only for a run whose script is gone."""
    shutil.rmtree(run.path / "secrets", ignore_errors=True)
    try:
        name = (run.path / "scratch").read_text(errors="replace").strip()
    except OSError:
        return
    if not re.fullmatch(r"sgl-launch-[A-Za-z0-9-]+", name):
        return
    for place in {os.environ.get("TMPDIR") or "/tmp", "/tmp"}:
        with contextlib.suppress(OSError):
            about = os.lstat(f"{place}/{name}")
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid():
                shutil.rmtree(f"{place}/{name}", ignore_errors=True)


def _recorded(run: RunFolder) -> dict[int, int | None]:
    """Pids that the run wrote down, each the leader of a session, with their start time where that is known."""
    pid, started = script_process(run)
    found: dict[int, int | None] = {pid: started} if pid else {}
    try:
        lines = (run.path / "processes").read_text(errors="replace").splitlines()
    except OSError:
        return found
    for words in map(str.split, lines):  # PID NAME, or PID NAME START-TIME
        if words and words[0].isdecimal() and int(words[0]) > 1:
            found[int(words[0])] = int(words[2]) if len(words) > 2 and words[2].isdecimal() else None
    return found


def _belongs(process: Process, folder: str, recorded: dict[int, int | None], began: int) -> bool:
    environment = environment_of(process.pid)
    mark = environment.get("LAUNCH_RUN")
    if mark is not None:
        return os.path.realpath(mark) == folder
    if process.session not in recorded or process.started < began:
        return False
    started, leader = recorded[process.session], look(process.session)
    if started is not None:
        return leader is None or leader.started == started  # else the number is another session's by now
    # an environment that is whole but without any mark of ours: another program got the number
    return "PATH" not in environment or any(m in environment for m in MARKS)


def _line_of(pid: int) -> Iterator[int]:
    """A process and those above it."""
    while pid > 1 and (process := look(pid)):
        yield pid
        pid = process.parent
