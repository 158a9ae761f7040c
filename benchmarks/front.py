"""What the front costs, direct against guarded in one run: latency, and many streams held at once.

    python benchmarks/front.py [STREAMS]          before a server of known speed (known_server.c)
    python benchmarks/front.py [STREAMS] RUN      before the frontend of a job of this machine, by its run folder

The streams go three ways: direct, guarded, and guarded once more, when Caddy has its connections to the server. A
client that asks for a long answer and never reads is there meanwhile. All is on this machine: client, Caddy and server
share its processors.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.sweep import known_server
from launcher.front.caddy import Address, config
from launcher.front.keys import Keys, make_keys, read_keys
from launcher.front.routes import DYNAMO
from tests.front.test_front import CADDY, free_ports, process

REQUESTS, FIRST_TOKENS = 4000, 400
LIMIT = 150  # seconds for all streams at once
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Subject:
    """A server, the front before it, and the front's process."""

    model: str
    direct: int
    guarded: int
    keys: Keys
    caddy: int
    tokens: int

    def post(self, count: int, pad: int = 0) -> bytes:
        """A request for a streamed completion of so many tokens."""
        body = {"model": self.model, "prompt": "abc " * 16, "max_tokens": count, "stream": True, "ignore_eos": True}
        text = json.dumps({**body, **({"pad": pad} if pad else {})}).encode()
        about = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        return self.head("POST /v1/completions", about) + text

    def head(self, what: str, more: str = "") -> bytes:
        key = f"Authorization: Bearer {self.keys.endpoint}\r\n"
        return f"{what} HTTP/1.1\r\nHost: 127.0.0.1\r\n{key}{more}\r\n".encode()

    @property
    def ways(self) -> tuple[tuple[str, int], ...]:
        return ("direct", self.direct), ("guarded", self.guarded)


@contextmanager
def known() -> Iterator[Subject]:
    """10 tokens a second to each stream, as a server under a thousand of them gives."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(known_server(ttft=0, itl=0.1))
        keys = make_keys(folder / "secrets", True)
        (port,) = free_ports(1)
        server = int(urlsplit(url).port or 0)
        file = folder / "secrets" / "front.json"
        file.write_text(config(Address((f"127.0.0.1:{port}",), (f"127.0.0.1:{server}",), DYNAMO, keys), None, 5))
        log = stack.enter_context((folder / "log").open("wb"))
        words = [str(CADDY), "run", "--config", str(file)]
        env = {"HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        caddy = stack.enter_context(process(words, port, stdout=log, stderr=log, env=env))
        yield Subject("known", server, port, keys, caddy.pid, 200)


@contextmanager
def job(run: Path) -> Iterator[Subject]:
    """The frontend and the front of a running job."""
    placement, plan = (json.loads((run / f"{name}.json").read_text()) for name in ("placement", "plan"))
    port = int(placement["port_base"]) + int(plan["frontend"]["replicas"][0]["port"].removeprefix("P+"))
    caddy = next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and f"{run.resolve()}/secrets/front.json" in _argv(entry)
    )
    guarded = int(urlsplit(placement["endpoint"]).port or 0)
    yield Subject(plan["model"]["served_name"], port, guarded, read_keys(run / "secrets"), caddy, 40)


def _argv(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text(errors="replace")
    except OSError:
        return ""


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident(pid: int) -> float:
    """MB, at most so far."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def latencies(made: Subject) -> None:
    """One request after another on kept connections, direct and guarded by turns."""
    listing, completion = made.head("GET /v1/models"), made.post(1)
    kinds: list[tuple[str, bytes, int, Callable[[bytes], bool]]] = [
        ("GET /v1/models", listing, REQUESTS, lambda got: got.endswith(b"}") and b"}]}" in got),
        ("first token of a stream", completion, FIRST_TOKENS, lambda got: got.endswith(b"0\r\n\r\n")),
    ]
    for what, request, count, whole in kinds:
        found: dict[str, list[float]] = {name: [] for name, _ in made.ways}
        sockets = {name: socket.create_connection(("127.0.0.1", port)) for name, port in made.ways}
        for one in sockets.values():
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            for name, one in sockets.items():
                began = time.perf_counter()
                one.sendall(request)
                got, first = b"", 0.0
                while not whole(got):
                    piece = one.recv(65536)
                    assert piece, got
                    got += piece
                    first = first or (time.perf_counter() - began if b"data: " in got or request is listing else 0.0)
                assert got.startswith(b"HTTP/1.1 200"), got
                found[name].append(1000 * (time.perf_counter() - began if request is listing else first))
        cuts = {name: statistics.quantiles(times[count // 20 :], n=100) for name, times in found.items()}
        for name, cut in cuts.items():
            print(f"{what}, {name}: p50 {cut[49]:.2f} ms, p99 {cut[98]:.2f} ms of {count}")
        (direct, guarded) = cuts.values()
        print(f"{what}, added: p50 {guarded[49] - direct[49]:.2f} ms, p99 {guarded[98] - direct[98]:.2f} ms")


class Stream(asyncio.Protocol):
    """One streamed request: when its pieces came."""

    def __init__(self, request: bytes) -> None:
        self.request, self.times, self.tail = request, list[float](), b""
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.begun = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.begun = time.perf_counter()
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        text = self.tail + data
        if b"data: {" in text:
            self.times.append(time.perf_counter())
        self.tail = data[-6:]
        if b"[DONE]" in text and not self.ended.done():
            self.ended.set_result(True)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(False)


async def streams(made: Subject, name: str, port: int, count: int) -> None:
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(100)
    deaf = socket.socket()  # it never reads
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect(("127.0.0.1", port))
    deaf.sendall(made.post(1000, pad=65536))
    before, began = cpu(made.caddy), time.perf_counter()

    async def one() -> Stream:
        async with gate:
            _, stream = await loop.create_connection(lambda: Stream(made.post(made.tokens)), "127.0.0.1", port)
        await asyncio.wait_for(asyncio.shield(stream.ended), 300)
        stream.transport.close()
        return stream

    found = [s for s in await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)
             if isinstance(s, Stream) and s.ended.result()]  # fmt: skip
    took, used = time.perf_counter() - began, cpu(made.caddy) - before
    if not found:
        return print(f"{name}: none of {count} streams came whole")
    firsts, lasts = [s.times[0] for s in found], [s.times[-1] for s in found]
    held = sum(1 for last in lasts if last > max(firsts))
    between = [1000 * (b - a) for s in found for a, b in zip(s.times, s.times[1:], strict=False)]
    gaps = statistics.quantiles(between, n=100)
    first = statistics.quantiles([1000 * (s.times[0] - s.begun) for s in found], n=100)
    events = sum(len(s.times) for s in found)
    rate = f"{events / took:.0f} pieces/s"
    print(f"{name}: {len(found)} of {count} streams whole, {held} at once, in {took:.1f} s; {rate}")
    print(f"  first token p50 {first[49]:.0f} ms, p99 {first[98]:.0f} ms; between tokens p50 {gaps[49]:.1f} ms, "
          f"p99 {gaps[98]:.1f} ms")  # fmt: skip
    print(f"  Caddy: {used:.1f} s of CPU ({100 * used / took:.0f}% of a core), {resident(made.caddy):.0f} MB at most")
    deaf.close()


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    runs = [Path(word) for word in sys.argv[1:] if not word.isdecimal()]
    with job(runs[0]) if runs else known() as made:
        latencies(made)
        # the guarded ones twice: at first Caddy has to open a connection to the frontend for each of them
        for name, port in (*made.ways, made.ways[1]):
            try:
                asyncio.run(asyncio.wait_for(streams(made, name, port, *(numbers or [1000])), LIMIT))
            except (asyncio.TimeoutError, TimeoutError):
                print(f"{name}: not all streams ended within {LIMIT} s")


if __name__ == "__main__":
    main()
