"""When bytes arrived, not when they were got round to.

An event loop learns of all sockets that are ready at once and then reads them one after another.
With a thousand answers at a time the last is read some 20 ms after the first, though all were there
before. So the moment at which the loop woke is noted, and stands for all that it then reads.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """The usual one, with the time of its last waking: seconds on the monotonic clock."""

    woke = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout)
        self.woke = time.monotonic()
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)


def run(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, on a loop that notes when it woke."""
    if sys.version_info >= (3, 11):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(work)
    return asyncio.run(work)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop that notes when it woke, for who runs a sweep in a thread of its own."""
    return _Loop()


def arrival() -> Callable[[], float]:
    """What to ask, while the running loop reads, for the time at which the bytes were there."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, _Loop):
        selector = loop.selector
        return lambda: selector.woke
    return time.monotonic
