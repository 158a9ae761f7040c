"""Lines of log files: when they were written, fit for a terminal, and which of them matter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from heapq import merge
from pathlib import Path

from launcher.base.terminal import visible

# Dynamo: 2026-11-23T11:57:44.510152Z; SGLang: [2026-11-23 11:57:44 TP0]; NATS: 2026/11/23 11:57:41.1
_STAMP = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d)([.,]\d+)?(?:(Z)|([+-]\d\d):?(\d\d))?")
_EPOCH = re.compile(r'"ts":(\d{10}(?:\.\d+)?)')  # etcd
_LEAD = re.compile(r"^\W*(?:\[\d+\] )?\d{4}[-/]\d\d[-/]\d\d[T ][\d:.,]+(?:Z|[+-]\d\d:?\d\d)?(?: [A-Z0-9 ]+\])?\W*")
_BAD = re.compile(
    r"\b(error|exception|critical|fatal|traceback|failed|failure|panicked|killed|abort(ed)?|refused|timed? ?out|"
    r"out of memory|denied)\b|Error:|\bERR\b",
    re.IGNORECASE,
)
# that there was none of it: "0 failed", "failed: 0", "errors=[]", "no error"; but "10 failed", "rank 0 failed"
_NONE = re.compile(
    r"(?:(?:^|[,;:=(\[|] ?|\b(?:INFO|and|with|had) )0(?: (?:of|out of) \d+)?"
    r"|\bno|\bzero|\bwithout(?: an?| any)?)(?: \w+)?"
    r" (?:error|exception|failed|failure|timed? ?out|abort(?:ed)?|killed|refused|denied)s?\b"
    r"|\b(?:error|exception|failed|failure|timed? ?out|aborted|killed|refused|denied)s?\b['\"]?\s*[:=]\s*['\"]?"
    r"(?:0(?![\w.])|(?:none|null|nil|false)(?=\W*$|['\"]?[,;)}\]])|\[\]|\{\})"
    r"|\b(?:error|exception|failure)s?\b['\"]?\s*[:=]\s*(?:''|\"\")",
    re.IGNORECASE,
)
# said on every start, or of no weight to people
_NOISE = re.compile(r"\bDEBUG\b|\bTRACE\b|(User|Future|Deprecation)Warning|deprecated|PyTorch was not found")


def plain(line: str) -> str:
    """The line without colours, and fit for a terminal."""
    return visible(line.replace("\r", "")).rstrip()


def written(line: str) -> float | None:
    """When a line was written, by its own time stamp; None for one without."""
    found = _STAMP.search(line[:160])
    if not found:
        epoch = _EPOCH.search(line[:160])
        return float(epoch[1]) if epoch else None
    year, month, day, clock, part, utc, hours, minutes = found.groups()
    zone = "+00:00" if utc else f"{hours}:{minutes}" if hours else ""  # without one by the node's own clock
    try:
        at = datetime.fromisoformat(f"{year}-{month}-{day}T{clock}{zone}").timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return at + float("0" + (part or "").replace(",", "."))


def by_time(logs: Iterable[tuple[Path, Iterable[str]]]) -> Iterator[tuple[Path, str]]:
    """Lines of several logs in the order in which they were written, read as they are needed. A line without a time
    stamp belongs to the one before it; each log keeps its own order."""
    return ((path, line) for _, path, line in merge(*(_timed(*log) for log in logs), key=lambda item: item[0]))


def _timed(path: Path, lines: Iterable[str]) -> Iterator[tuple[float, Path, str]]:
    last = 0.0
    for line in lines:
        last = max(last, written(line) or 0.0)
        yield last, path, line


def bad_lines(lines: Iterable[str]) -> Iterator[str]:
    """Those that speak of something wrong."""
    # most lines have no such word at all: that is quick to see, what _NONE looks for is not
    suspect = (line for line in lines if _BAD.search(line) and not _NOISE.search(line))
    return (line for line in suspect if _BAD.search(_NONE.sub(" ", line)))


def that_matters(lines: list[str]) -> str:
    """The last line that tells how it stands: of something wrong near the end, else the last that
    is not noise. Its time stamp is left out."""
    recent = lines[-40:]
    bad = list(bad_lines(recent))
    chosen = bad[-1] if bad else next((line for line in reversed(recent) if not _NOISE.search(line)), "")
    return _LEAD.sub("", chosen).strip()
