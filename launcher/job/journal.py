"""The only writer of a run's record: events.jsonl for machines, job.log and the job's output for people.

Everything is written by one thread, in order: storage that hangs, is full or read-only costs lines, never the job.
Imports the standard library alone: it is there before anything else of the job can fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from launcher.run.folder import Event

_WAITING = 20_000  # lines that may wait for storage that hangs; further ones are lost


class Writer:
    """A thread that does things with files in their order: storage that hangs or fails holds up nobody else."""

    def __init__(self, name: str, waiting: int) -> None:
        self._work: queue.Queue[Callable[[], object] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def later(self, work: Callable[[], object]) -> bool:
        """Have the thread do something, after all that it was given before; whether there was room for it."""
        with contextlib.suppress(queue.Full):
            self._work.put_nowait(work)
            return True
        return False

    def close(self, limit: float) -> bool:
        """Wait until all is written, at most `limit` seconds; whether it is."""
        with contextlib.suppress(queue.Full):
            self._work.put_nowait(None)
        self._thread.join(limit)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            with contextlib.suppress(Exception):  # one line that can't be written must not cost the others
                work()


class Journal(Writer):
    """The record of one run. Its methods return at once and never raise."""

    def __init__(self, folder: Path) -> None:
        super().__init__("journal", _WAITING)
        self.folder = folder
        self.events: list[Event] = []
        self.stage = ""
        self.failure = ""
        """Why the job ends, once that is known: the first reason counts."""

    def begin(self, stage: str) -> None:
        """The job is at this stage from now on."""
        self.stage = stage
        self.event(stage, "started")
        self.say(f"{stage} ...")

    def event(self, stage: str, state: str, detail: str = "") -> None:
        """One line for machines."""
        event = Event(round(time.time(), 6), stage, state, detail)
        self.events.append(event)
        line = json.dumps({"time": event.time, "stage": stage, "state": state, "detail": detail}) + "\n"
        self.later(lambda: self._append("events.jsonl", line))

    def say(self, text: str) -> None:
        """One line for people."""
        line = f"{time.strftime('%H:%M:%S')}  {text}\n"

        def write() -> None:
            with contextlib.suppress(OSError):
                os.write(2, line.encode(errors="replace"))
            self._append("logs/job.log", line)

        self.later(write)

    def fail(self, stage: str, why: str) -> None:
        """The job ends because of this."""
        self.event(stage, "failed", why)
        self.say(f"FAILED: {why}")
        self.failure = self.failure or why

    def _append(self, file: str, line: str) -> None:
        with contextlib.suppress(OSError):
            descriptor = os.open(self.folder / file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o640)
            try:
                os.write(descriptor, line.encode(errors="replace"))
            finally:
                os.close(descriptor)
