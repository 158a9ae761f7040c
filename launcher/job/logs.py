"""The logs of a job's processes: bounded on the way and on disk.

Output comes through the supervisor. A thread writes it; what storage does not take in time is dropped and counted,
so that a slow, full or hung run folder never holds up a process. A file that has grown to its share of the limit
becomes NAME.log.1 (the one before it goes), and a new one is begun.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from pathlib import Path

TAIL = 8  # lines of each log that are kept in memory
_LEAST = 1 << 16  # bytes of one file, however many there are
_WAITING = 4096  # chunks of at most 64 KiB


class Logs:
    """Files in `folder`; `files` is how many there may be, `limit` the bytes of all together."""

    def __init__(self, folder: Path, files: int, limit: int) -> None:
        self.folder = folder
        self._most = max(limit // (2 * max(files, 1)), _LEAST)
        self._work: queue.Queue[tuple[str, bytes] | None] = queue.Queue(_WAITING)
        self._dropped: dict[str, int] = {}
        self._tails: dict[str, deque[bytes]] = {}
        self._thread = threading.Thread(target=self._write_all, name="logs", daemon=True)
        self._thread.start()

    def write(self, name: str, data: bytes) -> None:
        """Append whole lines to a log; returns at once."""
        self._tails.setdefault(name, deque(maxlen=TAIL)).extend(data.splitlines()[-TAIL:])
        try:
            self._work.put_nowait((name, data))
        except queue.Full:
            self._dropped[name] = self._dropped.get(name, 0) + data.count(b"\n")

    def tail(self, name: str) -> list[str]:
        """The last lines of a log, from memory."""
        return [line.decode(errors="replace") for line in self._tails.get(name, ())]

    def close(self, limit: float) -> None:
        """Wait at most `limit` seconds until all is written."""
        with contextlib.suppress(queue.Full):
            self._work.put_nowait(None)
        self._thread.join(limit)

    def _write_all(self) -> None:
        while (item := self._work.get()) is not None:
            name, data = item
            if lost := self._dropped.pop(name, 0):
                note = f"[sgl-launch: {lost} lines were dropped: the run folder did not take them in time]\n"
                data = note.encode() + data
            with contextlib.suppress(OSError):
                self._append(self.folder / name, data)

    def _append(self, path: Path, data: bytes) -> None:
        with path.open("ab") as file:
            if file.tell() + len(data) > self._most and file.tell():
                path.replace(path.with_name(f"{path.name}.1"))
                with path.open("ab") as fresh:
                    fresh.write(data)
                return
            file.write(data)
