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
from launcher.run.state import is_local, job_state

WIDTH = 200
# bytes to read of all logs together, of each at least and at most: matching takes a second for 3 MB (one core)
BUDGET, LEAST, MOST = 6 << 20, 32 << 10, 2 << 20
TAIL = 64 << 10  # bytes of a log's end that are looked through for its last errors
_PROCESS = re.compile(r"^(\S+)(?: \(rank \d+\))? ended with exit status (\d+) on (\S+); its log: (\S+\.log)", re.M)
_SILENT = re.compile(r"^not \w+ after [\d.]+ s: .*?\(log (\S+\.log)\)")
# what an exit status says where no line does: (meaning, what to do); {} is the node
_STATUS = {
    0: ("it ended by itself as if its work were done", "read its log: a worker serves until it is told to end"),
    126: ("its program may not be executed", "check its mode and the mount's options (noexec) on {}"),
    127: ("its program was not found", "check container.image, PATH in env and `setup`; try its command on {}"),
    134: ("it crashed (SIGABRT)", "read its log to the end; check that driver and image fit (`nvidia-smi` on {})"),
    137: (
        "it was killed with SIGKILL, by the kernel for lack of memory or by a person or program",
        "look for 'Out of memory' in `dmesg` on {}; if it is there, set slurm.mem: 0 or use less host memory",
    ),
    139: ("it crashed (SIGSEGV)", "read its log to the end; check that driver and image fit (`nvidia-smi` on {})"),
    143: ("it was told to end (SIGTERM), but not by the job", "ask who or what ended it on {}"),
}
LAST = 5  # lines of the log of what failed
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
    if not history.events and not any(path.exists() for path in log_files(run)):
        return [*out, "", f"it has not begun: `sgl-launch status {run.job_id}` says what it waits for"]
    out += restarts(history)
    found = causes_of(run)
    for one in found:
        out += ["", f"{one.cause.name}: {one.cause.means}"]
        out += [f"  {place(run, path, number)}: {_cut(text)}" for path, number, text in one.lines]
        if one.count > len(one.lines):
            out.append(f"  and {counted(one.count - len(one.lines), 'more such line')}")
        out.append(f"  what to do: {one.cause.do}")
    if not found and not history.failure and not history.end and _killed(run):
        out += ["", "the job's own process was killed before it could say why: by a person, or for lack of memory"]
        out += ["  what to do: look at `dmesg` on the job's first node; what it had started there has ended with it"]
    elif not found and not history.failure and history.ready and not history.end:
        out += ["", "no failure that the job did not recover from: it is serving, or was when it last reported"]
    elif not found:
        out += ["", *(_of_the_process(run, history) or _unknown(run))]
    return out


def _killed(run: RunFolder) -> bool:
    return is_local(run) and job_state(run).state == "FAILED"


def _of_the_process(run: RunFolder, history: History) -> list[str]:
    """No known cause, but the process that failed is known: what its exit status says, and the end of its log."""
    detail = history.failure.detail if history.failure else ""
    if ended := _PROCESS.search(detail):
        means, do = _STATUS.get(int(ended[2]), ("", "read its log: what explains it is often above the last lines"))
        out, log = [f"{ended[1]} on {ended[3]}: {means}"] if means else [], Path(ended[4])
        do = do.format(ended[3])
    elif silent := _SILENT.search(detail):
        out, log = ["it still started, or hung, when its time was over"], Path(silent[1])
        do = "if its log goes on to the end, raise timeouts.ready; else `py-spy dump` says where it hangs"
    else:
        return []
    log = run.path / "logs" / log.name  # the job may have called the folder by another name
    last = [line for line in map(plain, tail(log, TAIL)) if line.strip()][-LAST:]
    out += [f"the last lines of {place(run, log)}:" if last else f"{place(run, log)} is empty"]
    return [*out, *(f"  {_cut(line)}" for line in last), f"  what to do: {do}"]


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
