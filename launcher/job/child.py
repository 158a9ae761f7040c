"""One child process of the supervisor: started, read, told, ended. No threads, no polling.

Nothing of ours runs between fork and exec (no preexec_fn): with gRPC's threads about, that can hang both sides. What
ends children when the supervisor is killed is Slurm, or the agent (templates/node.sh).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

_CHUNK = 1 << 16
_DRAIN = 32  # chunks; a pipe holds 64 KiB, or at most 1 MiB (/proc/sys/fs/pipe-max-size)
_LONGEST = 1 << 20  # bytes of a line that has no end, before it is taken for one

Lines = Callable[[bytes], None]


class Child:
    """`ended` is its exit status as subprocess has it, once it has ended. `group`: it leads a session of its own, and
    signals go to all processes of that."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], out: Lines, err: Lines | None = None, *,
        group: bool = False, told: bool = False,
    ) -> None:  # fmt: skip
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self.loop.create_future()
        self.group = group
        self.process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.PIPE if told else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if err else subprocess.STDOUT,
            start_new_session=group,
        )
        self.pid = self.process.pid
        self._pipes = [_Pipe(self.loop, self.process.stdout.fileno(), out)] if self.process.stdout else []
        if err and self.process.stderr:
            self._pipes.append(_Pipe(self.loop, self.process.stderr.fileno(), err))
        if told and self.process.stdin:
            os.set_blocking(self.process.stdin.fileno(), False)
        _watch(self)

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    @property
    def status(self) -> int:
        """As a shell has it, once it has ended."""
        code = self.ended.result()
        return 128 - code if code < 0 else code

    def tell(self, text: str) -> None:
        """A line on its standard input; lost if it does not read."""
        if self.process.stdin and not self.process.stdin.closed:
            with contextlib.suppress(OSError):
                os.write(self.process.stdin.fileno(), f"{text}\n".encode())

    def signal(self, number: int) -> None:
        """To it, or to all of its session, those too that have outlived it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.group:
                os.killpg(self.pid, number)
            elif self.alive:
                os.kill(self.pid, number)

    def others(self) -> bool:
        """Whether anything of its session is left."""
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return self.group

    def close(self) -> None:
        """Read what is left of its output, and let go of it: no process of it may matter any more."""
        for pipe in self._pipes:
            pipe.close()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream and not stream.closed:
                with contextlib.suppress(OSError):
                    stream.close()

    def reap(self) -> None:
        """Notice its end."""
        if self.alive and (code := self.process.poll()) is not None:
            for pipe in self._pipes:
                pipe.drain()
            self.ended.set_result(code)


class _Pipe:
    """Hands on whole lines, several at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, lines: Lines) -> None:
        self._loop, self._descriptor, self._lines = loop, descriptor, lines
        self._rest, self._open = b"", True
        os.set_blocking(descriptor, False)
        loop.add_reader(descriptor, self._read)

    def _read(self) -> bool:
        """Whether there was something."""
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end()
            return False
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline:
            self._lines(whole + newline)
        elif len(self._rest) > _LONGEST:
            self._lines(self._rest + b"\n")
            self._rest = b""
        return True

    def drain(self) -> None:
        """What was in the pipe by now: those that still write must not hold this up."""
        for _ in range(_DRAIN):
            if not (self._open and self._read()):
                break

    def close(self) -> None:
        self.drain()
        self._end()

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._descriptor)
            if self._rest:
                self._lines(self._rest + b"\n")


_children: set[Child] = set()


def _watch(child: Child) -> None:
    if not _children:
        child.loop.add_signal_handler(signal.SIGCHLD, _reap_all)
    _children.add(child)
    child.ended.add_done_callback(lambda _: _children.discard(child))
    child.loop.call_soon(child.reap)  # it may have ended before the handler was there


def _reap_all() -> None:
    for child in list(_children):
        child.reap()


async def run_program(argv: Sequence[str], limit: float, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Exit status and output of a short program; 124 after `limit` seconds, 127 where it is not there."""
    said: list[bytes] = []
    try:
        child = Child(argv, env or os.environ, said.append)
    except OSError as e:
        return 127, f"{argv[0]}: {e.strerror}"
    try:
        code = await asyncio.wait_for(asyncio.shield(child.ended), limit)
    except asyncio.TimeoutError:
        return 124, f"{argv[0]} did not answer within {limit:.0f} s"
    finally:
        child.signal(signal.SIGKILL)
        child.close()
    return code, b"".join(said).decode(errors="replace")
