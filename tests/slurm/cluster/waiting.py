"""Waiting for a condition, not for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float, what: str, every: float = 0.05) -> T:
    """Call condition until it is true, and return what it returned. timeout and every in seconds.

    Raises TimeoutError, which says what was waited for and what the condition returned last.
    """
    end = time.monotonic() + timeout
    while True:
        last = condition()
        if last:
            return last
        if time.monotonic() >= end:
            raise TimeoutError(f"waited {timeout:g} s for {what}; last seen: {last!r}")
        time.sleep(every)
