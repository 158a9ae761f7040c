"""One round of requests: all prepared, then all sent, then all read.

While requests are on their way, this process does nothing else: prompts are made before the first
one leaves, answers are read after the last one came, and the garbage collector, whose passes take
tens of milliseconds with thousands of pieces at hand, waits.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence

from .answer import Answer
from .client import Client, Request
from .wire import Exchange


async def run_round(
    client: Client, requests: Sequence[Request], at_once: int, deadline: float
) -> tuple[list[Answer], bool]:
    """Send the requests, ``at_once`` at a time, and read the answers.

    ``deadline`` is on the monotonic clock. Gives the answers that came, in the order of the
    requests, and whether all did. Cancellation passes through and leaves no request behind.
    """
    await client.wire.open(min(at_once, len(requests)))
    exchanges: dict[int, Exchange] = {}
    waiting = iter(range(len(requests)))

    async def lane() -> None:
        for place in waiting:
            exchanges[place] = await client.wire.exchange(requests[place].data)

    collecting = gc.isenabled()
    gc.disable()
    lanes = [asyncio.ensure_future(lane()) for _ in range(min(at_once, len(requests)))]
    try:
        left = deadline - time.monotonic()
        _, unfinished = await asyncio.wait(lanes, timeout=max(0.0, left))
    finally:
        if collecting:
            gc.enable()
        for task in lanes:
            task.cancel()
        done = await asyncio.gather(*lanes, return_exceptions=True)
    for outcome in done:
        if isinstance(outcome, Exception):
            raise outcome
    answers = [client.read(requests[place], exchange) for place, exchange in sorted(exchanges.items())]
    return answers, not unfinished
