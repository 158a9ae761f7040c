"""What the front costs: latency direct and guarded, and many streams at once with one client that never reads.

    python benchmarks/front.py [STREAMS]

The frontend is a stand-in (tests/front/upstream.py), so that nothing but the front differs. All on this machine.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp

from tests.front.test_front import Front, front

REQUESTS, EVENTS = 4000, 100
_TICK = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident(pid: int) -> float:
    """MB."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


async def latencies(made: Front) -> None:
    """One request after another on kept connections, direct and guarded by turns."""
    found: dict[str, list[float]] = {"direct": [], "guarded": []}
    headers = {"Authorization": f"Bearer {made.keys.endpoint}"}
    async with aiohttp.ClientSession() as session:
        for _ in range(REQUESTS):
            for name, port in (("direct", made.frontends[0]), ("guarded", made.port)):
                began = time.perf_counter()
                async with session.get(f"http://127.0.0.1:{port}/v1/models", headers=headers) as answer:
                    await answer.read()
                found[name].append(1000 * (time.perf_counter() - began))
    for name, times in found.items():
        cuts = statistics.quantiles(times[100:], n=100)
        print(f"{name}: p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms of {len(times)} requests")


async def one(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> tuple[int, float]:
    """Events that came, and the seconds to the first."""
    began, first, events = time.perf_counter(), 0.0, 0
    async with session.post(url, json={"events": EVENTS}, headers=headers) as answer:
        async for line in answer.content:
            if line.startswith(b"data: "):
                first = first or time.perf_counter() - began
                events += 1
    return events, first


async def streams(made: Front, name: str, port: int, count: int) -> None:
    headers = {"Authorization": f"Bearer {made.keys.endpoint}"}
    # it asks for padded events and never reads one
    deaf_reader, deaf = await asyncio.open_connection("127.0.0.1", port, limit=1)
    body = b'{"events": 100000}'
    deaf.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Pad: 100000\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {made.keys.endpoint}\r\n\r\n".encode()
        + body
    )
    before, began = cpu(made.caddy.pid), time.perf_counter()
    limit = aiohttp.ClientTimeout(300)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=limit) as session:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        found = await asyncio.gather(*(one(session, url, headers) for _ in range(count)), return_exceptions=True)
    took = time.perf_counter() - began
    whole = [f for f in found if isinstance(f, tuple) and f[0] == EVENTS + 1]
    first = statistics.median(f[1] for f in whole) if whole else 0.0
    used = cpu(made.caddy.pid) - before
    print(
        f"{name}: {len(whole)} of {count} streams whole in {took:.1f} s, first event after {first:.2f} s (median); "
        f"{count * EVENTS / took:.0f} events/s; Caddy {used:.1f} s of CPU ({used / took:.2f} cores), "
        f"{resident(made.caddy.pid):.0f} MB at most"
    )
    deaf.close()
    del deaf_reader


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with ExitStack() as stack:
        made = stack.enter_context(front(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        asyncio.run(latencies(made))
        for name, port in (("direct", made.frontends[0]), ("guarded", made.port)):
            asyncio.run(streams(made, name, port, count))


if __name__ == "__main__":
    main()
