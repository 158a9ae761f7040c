"""Log files of any size: read from the end, in step with their growth, or whole, never all at once into memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from launcher.base.errors import InputError
from launcher.run.folder import RunFolder

BLOCK = 1 << 16  # bytes read at once
LONGEST = 1 << 15  # bytes of a line; a longer one is shown in pieces
_ENDS = re.compile(b"\r\n|\n|\r(?!$)")  # a progress bar is a line for each of its states


def _split(data: bytes) -> tuple[list[str], bytes]:
    """Whole lines, and the rest. A line that is longer than LONGEST is broken."""
    *whole, rest = _ENDS.split(data)
    pieces = [line[at : at + LONGEST] for line in whole for at in range(0, len(line) or 1, LONGEST)]
    while len(rest) > LONGEST:
        pieces.append(rest[:LONGEST])
        rest = rest[LONGEST:]
    return [line.decode(errors="replace") for line in pieces], rest


def _all(data: bytes) -> list[str]:
    """The lines, and a half-written last one."""
    whole, rest = _split(data)
    return [*whole, rest.decode(errors="replace")] if rest else whole


def _read(path: Path, at: int, most: int) -> tuple[int, int, bytes]:
    """The file's inode and size, and at most so many bytes from `at` on (before its end where that is negative);
    nothing if it can't be read. It is open no longer: a job may have more logs than a process may have open files."""
    try:
        with path.open("rb") as f:
            about = os.fstat(f.fileno())
            f.seek(max(about.st_size + at, 0) if at < 0 else at)
            return about.st_ino, about.st_size, f.read(most)
    except OSError:
        return 0, 0, b""


def older(path: Path) -> Path:
    """Where a log that has grown large is moved to, and begun anew."""
    return path.with_name(f"{path.name}.1")


def parts(path: Path) -> list[Path]:
    """The files of one log, the older first."""
    return [p for p in (older(path), path) if p.exists()]


def lines(path: Path, size: int | None = None) -> Iterator[str]:
    """The lines of a file, as far as `size` bytes of it; none if it can't be read. A half-written last line too."""
    at, rest, first = 0, b"", 0
    while size is None or at < size:
        inode, _, block = _read(path, at, BLOCK if size is None else min(BLOCK, size - at))
        first = first or inode
        if not block or inode != first:
            break
        at += len(block)
        whole, rest = _split(rest + block)
        yield from whole
    yield from _all(rest)


def tail(path: Path, size: int, end: int | None = None) -> list[str]:
    """The whole lines in the last `size` bytes before `end` (the file's end without it), and its half-written last
    one; none if it can't be read."""
    end = _read(path, 0, 0)[1] if end is None else end
    at = max(0, end - size)
    found = _all(_read(path, at, end - at)[2])
    return found[1:] if at and len(found) > 1 else found


def last_lines(path: Path, count: int, end: int | None = None) -> list[str]:
    """The last lines before `end`, at most LONGEST bytes of each on average."""
    size, whole = BLOCK, _read(path, 0, 0)[1] if end is None else end
    while True:
        found = tail(path, size, end)
        if len(found) >= count or size >= whole or size > count * LONGEST:
            return found[-count:]
        size *= 4


def log_name(path: Path) -> str:
    """The log's name without its endings: nats of nats.log and of nats.log.1."""
    return path.name.partition(".")[0]


def matching(run: RunFolder, group: str | None, waiting: bool = False) -> list[Path]:
    """The logs of a group, rank, service or all. Raises InputError if there is none, unless one may still come
    (`waiting`)."""
    files = sorted((run.path / "logs").glob("*.log"))
    if not group:
        return files
    name, colon, rank = group.partition(":")
    wanted = f"{name}-{rank}" if colon else ""
    chosen = [f for f in files if (f.stem == wanted if wanted else name in (f.stem, f.stem.rpartition("-")[0]))]
    plan = run.plan_or_none() if waiting and not chosen else None
    may_come = waiting and (plan is None or plan.group(name) is not None)
    if not chosen and not may_come:
        known = ", ".join(f.stem for f in files) or "none yet"
        raise InputError(f"no log of {group!r} in {run.path}/logs; there are: {known}")
    return chosen


class Tail:
    """Reads what log files have become longer by; a file that was begun anew is read anew."""

    def __init__(self, run: RunFolder, group: str | None) -> None:
        self._run, self._group = run, group
        self._read: dict[Path, tuple[int, int]] = {}  # inode and size up to which it was read

    def start_at_end(self, path: Path) -> int:
        """Take all that is in the file now as read; its size. A half-written last line counts as not read."""
        inode, size, last = _read(path, -LONGEST, LONGEST)
        size -= len(last) - last.rfind(b"\n") - 1
        self._read[path] = inode, size
        return size

    def read(self) -> Iterator[tuple[Path, list[str]]]:
        """Each file's new lines, at most BLOCK bytes of each; new files are found."""
        files = matching(self._run, self._group, waiting=True)
        self._read = {path: at for path, at in self._read.items() if path in files}
        for path in files:
            if found := self._new(path):
                yield path, found

    def _new(self, path: Path) -> list[str]:
        """New whole lines; none of a file that is gone."""
        inode, at = self._read.get(path, (0, 0))
        now, size, chunk = _read(path, at, BLOCK)
        earlier: list[str] = []
        if now and (now != inode or size < at):
            before, _, rest = _read(older(path), at, BLOCK)
            earlier = _all(rest) if inode and before == inode else []
            at = 0
            now, _, chunk = _read(path, at, BLOCK)
        if not now:
            return earlier
        end = chunk.rfind(b"\n") + 1
        if not end and len(chunk) >= LONGEST:
            end = len(chunk)  # a line without an end
        self._read[path] = (now, at + end)
        return [*earlier, *_all(chunk[:end])]
