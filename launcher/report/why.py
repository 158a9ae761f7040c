"""`logs --why`: the lines of a run that explain its failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from launcher.base.counting import counted
from launcher.report.causes import Explained, explain
from launcher.run.folder import RunFolder
from launcher.run.logtext import bad_lines, tail

WIDTH = 200
# they only say that something was wrong, or what the first line says already
_EMPTY = re.compile(r"Traceback \(most recent|FAILED: |stopped, exit status")


def log_files(run: RunFolder) -> list[Path]:
    """Every log of the run: ranks', services', srun's and the job's own output."""
    folder = run.path / "logs"
    return [*sorted(folder.glob("*.log")), *sorted(folder.glob("*.srun")), run.path.parent / f"{run.path.name}.out"]


def causes_of(run: RunFolder) -> list[Explained]:
    return explain((path, _lines(path)) for path in log_files(run))


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as f:
            yield from f
    except OSError:
        return


def why(run: RunFolder) -> list[str]:
    """What to print: the failure as the job recorded it, known causes, else the last bad lines."""
    events = run.events()
    failure = next((e for e in events if e.state in ("failed", "cancelled")), None)
    out = [f"{run.path.name}: {failure.stage} {failure.state}: {failure.detail}" if failure else _no_failure(run)]
    found = causes_of(run)
    for one in found:
        out += ["", f"{one.cause.name}: {one.cause.means}"]
        out += [f"  {_relative(run, path)}:{number}: {_cut(text)}" for path, number, text in one.lines]
        if one.count > len(one.lines):
            out.append(f"  and {counted(one.count - len(one.lines), 'more such line')}")
        out.append(f"  what to do: {one.cause.do}")
    if not found:
        out += ["", *_unknown(run)]
    return out


def _no_failure(run: RunFolder) -> str:
    return f"{run.path.name} recorded no failure"


def _unknown(run: RunFolder) -> list[str]:
    """No known cause: the last lines of each log that speak of something wrong."""
    out: list[str] = []
    told: set[str] = set()
    for path in log_files(run):
        bad = [line for line in bad_lines(tail(path)) if not _EMPTY.search(line)]
        new = [line for line in dict.fromkeys(bad[-2:]) if line not in told]
        told.update(new)
        out += [f"  {_relative(run, path)}: {_cut(line)}" for line in new]
    if not out:
        return ["no line of the logs speaks of something wrong"]
    return ["no known cause; the last lines that speak of something wrong:", *out]


def _relative(run: RunFolder, path: Path) -> str:
    return str(path.relative_to(run.path)) if path.is_relative_to(run.path) else path.name


def _cut(text: str) -> str:
    return text.strip() if len(text.strip()) <= WIDTH else text.strip()[: WIDTH - 1] + "…"
