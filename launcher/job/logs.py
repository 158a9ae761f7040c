"""The logs of a job's processes: bounded on the way and on disk.

Output comes through the supervisor. A thread writes it; what storage does not take in time is dropped and counted,
so that a slow, full or hung run folder never holds up a process. A file that has grown to its share of the limit
becomes NAME.log.1 (the one before it goes), and a new one is begun.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

from launcher.job.journal import Writer

TAIL = 8  # lines of each log that are kept in memory
_LEAST = 1 << 16  # bytes of one file, however many there are
_WAITING = 4096  # chunks of at most 64 KiB


class Logs(Writer):
    """Files in `folder`; `files` is how many there may be, `limit` the bytes of all together."""

    def __init__(self, folder: Path, files: int, limit: int) -> None:
        super().__init__("logs", _WAITING)
        self.folder = folder
        self._most = max(limit // (2 * max(files, 1)), _LEAST)
        self._dropped: dict[str, int] = {}
        self._tails: dict[str, deque[bytes]] = {}
        self.hidden = b""  # a key, which SGLang says with all its other flags

    def write(self, name: str, data: bytes) -> None:
        """Append whole lines to a log; returns at once."""
        data = data.replace(self.hidden, b"...") if self.hidden else data
        self._tails.setdefault(name, deque(maxlen=TAIL)).extend(data.splitlines()[-TAIL:])
        if not self.later(lambda: self._append(name, data)):
            self._dropped[name] = self._dropped.get(name, 0) + data.count(b"\n")

    def tail(self, name: str) -> list[str]:
        """The last lines of a log, from memory."""
        return [line.decode(errors="replace") for line in self._tails.get(name, ())]

    def _append(self, name: str, data: bytes) -> None:
        if lost := self._dropped.pop(name, 0):
            note = f"[sgl-launch: {lost} lines were dropped: the run folder did not take them in time]\n"
            data = note.encode() + data
        path = self.folder / name
        size = path.stat().st_size if path.exists() else 0
        if size and size + len(data) > self._most:
            path.replace(path.with_name(f"{name}.1"))
        with path.open("ab") as file:
            file.write(data)
