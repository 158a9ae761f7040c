"""One address for several frontends: each TCP connection goes to the frontend that has the fewest.

A connection, not a request: a client that keeps its connection stays with its frontend. A frontend
that does not take a connection is passed over for a while, and the next one is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_CONNECT = 3.0  # seconds, for a frontend to take a connection
_PASS_OVER = 2.0  # seconds, after one that it did not take
_PIECE = 1 << 16
_SPARE_FILES = 64  # descriptors that are not for connections


@dataclass
class Target:
    """A frontend: where it is, its open connections, and until when (monotonic seconds) it is passed over."""

    host: str
    port: int
    open: int = 0
    away_until: float = 0.0


def in_turn(targets: Sequence[Target], now: float) -> list[Target]:
    """Whom to ask for a connection, in this order: those that answer first, of them the least busy."""
    return sorted(targets, key=lambda t: (t.away_until > now, t.open))


def room() -> int:
    """How many connections the limit on open files leaves, each of two descriptors; raises it first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max((soft - _SPARE_FILES) // 2, 1) if soft != resource.RLIM_INFINITY else 1 << 20


class Balancer:
    """Serves until SIGTERM; then takes no more connections and ends when the frontends have closed the
    last one, at a second SIGTERM at once."""

    def __init__(
        self, targets: Sequence[Target], say: Callable[[str], None], most: int | None = None
    ) -> None:
        self.targets = targets
        self._say = say
        self._most = most or room()
        self._full = 0.0  # when it was last said
        self._running: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    async def serve(self, port: int) -> None:
        """Raises OSError when the port cannot be had."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._end)
        server = await asyncio.start_server(self._accept, "0.0.0.0", port, backlog=1024)
        shown = ", ".join(f"{t.host}:{t.port}" for t in self.targets)
        self._say(f"port {port} is answered by {shown}; {self._most} connections at once at most")
        await self._ended.wait()
        server.close()
        while self._running:
            await asyncio.wait(self._running)

    def _end(self) -> None:
        if self._ended.is_set():
            for task in self._running:
                task.cancel()
        self._ended.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._running) >= self._most:
            if time.monotonic() - self._full > 1:
                self._full = time.monotonic()
                self._say(f"{self._most} connections are open: further ones are closed (ulimit -n)")
            writer.close()
            return
        self._running.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # by _end
                await self._join(reader, writer)
        finally:
            self._running.discard(task)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for target in in_turn(self.targets, time.monotonic()):
            target.open += 1  # before it is there: others arrive meanwhile
            try:
                try:
                    theirs = await asyncio.wait_for(asyncio.open_connection(target.host, target.port), _CONNECT)
                except (OSError, asyncio.TimeoutError) as e:
                    target.away_until = time.monotonic() + _PASS_OVER
                    self._say(f"{target.host}:{target.port} took no connection: {str(e) or 'timeout'}")
                    continue
                there = asyncio.create_task(_copy(reader, theirs[1]))
                try:
                    await _copy(theirs[0], writer)  # the frontend's end is the connection's
                finally:
                    there.cancel()
                    theirs[1].close()
                return
            finally:
                target.open -= 1


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All bytes of one direction, then its end."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        if writer.can_write_eof():
            writer.write_eof()


def main(folder: str, port: str) -> None:
    """Hand connections to this port on to the run's frontends, until SIGTERM and the last one's end."""
    from launcher.run.deployment import read_deployment
    from launcher.run.folder import RunFolder

    urls = [urlsplit(url) for url in read_deployment(RunFolder(Path(folder))).endpoints]
    targets = [Target(url.hostname or "", url.port or 0) for url in urls]
    asyncio.run(Balancer(targets, lambda text: print(text, flush=True)).serve(int(port)))


if __name__ == "__main__":
    main(*sys.argv[1:3])
