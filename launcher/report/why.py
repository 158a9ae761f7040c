"""`logs --why`: the lines of a run that explain its failure."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from launcher.base.counting import counted
from launcher.report.causes import Explained, explain
from launcher.run.folder import RunFolder
from launcher.run.history import History
from launcher.run.logfiles import lines, tail
from launcher.run.logtext import bad_lines, plain

WIDTH = 200
# bytes to read of all logs together, of each at least and at most: matching takes a second for 3 MB (one core)
BUDGET, LEAST, MOST = 6 << 20, 32 << 10, 2 << 20
TAIL = 64 << 10  # bytes of a log's end that are looked through for its last errors
# they only say that something was wrong, or what the first line says already
_EMPTY = re.compile(r"Traceback \(most recent|FAILED: |stopped, exit status")


def log_files(run: RunFolder) -> list[Path]:
    """Every log of the run: ranks', services', srun's and the job's own output."""
    folder = run.path / "logs"
    kinds = ("*.log", "*.log.1", "*.srun")
    return [*(path for kind in kinds for path in sorted(folder.glob(kind))), run.output]


def causes_of(run: RunFolder) -> list[Explained]:
    files = log_files(run)
    return explain(line for path in files for line in _numbered(path, share(len(files))))


def share(files: int) -> int:
    """Bytes to read of each of so many logs."""
    return min(max(BUDGET // max(files, 1), LEAST), MOST)


def _numbered(path: Path, most: int) -> Iterator[tuple[Path, int, str]]:
    """The lines of a log with their numbers; of a large one its first quarter of `most` bytes, and its end, whose
    lines have no number (0)."""
    try:
        large = path.stat().st_size > most
    except OSError:
        return
    for number, line in enumerate(lines(path, most // 4 if large else None), 1):
        yield path, number, line
    if large:
        yield from ((path, 0, line) for line in tail(path, most - most // 4))


def why(run: RunFolder) -> list[str]:
    """What to print: the failure as the job recorded it, known causes, else the last bad lines."""
    history = History.read(run, begun=True)
    out = [f"{run.path.name}: {history.failure_text or 'no failure was recorded'}"]
    out += restarts(history)
    found = causes_of(run)
    for one in found:
        out += ["", f"{one.cause.name}: {one.cause.means}"]
        out += [f"  {place(run, path, number)}: {_cut(text)}" for path, number, text in one.lines]
        if one.count > len(one.lines):
            out.append(f"  and {counted(one.count - len(one.lines), 'more such line')}")
        out.append(f"  what to do: {one.cause.do}")
    if not found and not history.failure and history.ready and not history.end:
        out += ["", "no failure that the job did not recover from: it is serving, or was when it last reported"]
    elif not found:
        out += ["", *_unknown(run)]
    return out


def restarts(history: History) -> list[str]:
    """Which parts were started again, how often, and why the last time."""
    out = []
    for name, process in history.processes.items():
        if process.restarts:
            last = next(e for e in reversed(history.events) if (e.stage, e.state) == (name, "restarting"))
            lost = next((e for e in reversed(history.events) if (e.stage, e.state) == (name, "lost")), None)
            reason = lost.detail if lost and lost.time <= last.time <= lost.time + 60 else last.detail
            at = time.strftime("%H:%M:%S", time.localtime(last.time))
            now = "" if process.state == "restarting" else f"; now {process.state}"
            out.append(f"  {name} was started again {counted(process.restarts, 'time')}, last at {at}: {reason}{now}")
    return out


def place(run: RunFolder, path: Path, number: int = 0) -> str:
    """logs/decode-0-0.log:12"""
    name = str(path.relative_to(run.path)) if path.is_relative_to(run.path) else path.name
    return f"{name}:{number}" if number else name


def _unknown(run: RunFolder) -> list[str]:
    """No known cause: the last lines of each log that speak of something wrong."""
    out: list[str] = []
    told: set[str] = set()
    for path in log_files(run):
        bad = [line for line in bad_lines(map(plain, tail(path, TAIL))) if not _EMPTY.search(line)]
        new = [line for line in dict.fromkeys(bad[-2:]) if line not in told]
        told.update(new)
        out += [f"  {place(run, path)}: {_cut(line)}" for line in new]
    if not out:
        return ["no errors found in the logs"]
    return ["no known cause; the last errors in the logs:", *out]


def _cut(text: str) -> str:
    return text.strip() if len(text.strip()) <= WIDTH else text.strip()[: WIDTH - 1] + "…"
