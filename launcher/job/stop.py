"""The end of a job, whatever it was: tier by tier, within the limits of the config, and nothing left.

The front and the frontends first (they drain, where there is time), then workers, then services. Signals come before
files: nothing here waits for the run folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from launcher.base.counting import first_few
from launcher.job.journal import Journal
from launcher.job.part import Part
from launcher.job.policy import Kind
from launcher.job.steps import Step

FRONT: tuple[Kind, ...] = ("front", "frontend")
AHEAD = 0.05  # seconds that the front has to close its port before the frontends close theirs
LAST = 2.0  # seconds after the use of force


async def stop_all(
    parts: Sequence[Part], helpers: Iterable[Step], grace: float, drain: float, hurry: asyncio.Event, journal: Journal
) -> None:
    """End all processes within about `grace` seconds, after at most `drain` for the requests that run; `hurry` ends
    that early."""
    for part in parts:
        part.stop_keeping()
    for step in helpers:
        step.stop()
    loop = asyncio.get_running_loop()
    workers, services = (_steps(parts, [kind]) for kind in ("worker", "service"))
    addresses, frontends = (_steps(parts, [kind]) for kind in FRONT)
    front = [*addresses, *frontends]
    # the front first, so that no request comes to a frontend that takes none any more
    _ask(addresses)
    await asyncio.sleep(AHEAD if frontends else 0)
    _ask(frontends)
    if drain:
        await _until(front, drain, hurry)
        if hurry.is_set():  # they were told to wait for their requests, and would go on with that
            _kill(front)
    begin = loop.time()

    def left(share: float) -> float:
        return max(begin + grace * share - loop.time(), 0.0)

    await _until(front, left(0.25))
    _ask(workers)
    await _until(workers, left(0.875))
    _ask(services)
    everything = [*front, *workers, *services, *helpers]
    await _until(everything, left(1.0))
    if living := [s.name for s in everything if not s.ended.done()]:
        journal.say(f"did not end within {grace:g} s and is killed: {first_few(living)}")
    for _ in range(2):
        _kill(everything)
        await _until(everything, LAST)


def _steps(parts: Sequence[Part], kinds: Sequence[str]) -> list[Step]:
    return [p.step for p in parts if p.kind in kinds and p.step is not None]


def _ask(steps: Sequence[Step]) -> None:
    for step in steps:
        if not step.ended.done():
            step.stop()


def _kill(steps: Sequence[Step]) -> None:
    for step in steps:
        if not step.ended.done():
            step.kill()


async def _until(steps: Sequence[Step], seconds: float, hurry: asyncio.Event | None = None) -> None:
    """Wait until all have ended, at most so long."""
    living: list[asyncio.Future[Any]] = [s.ended for s in steps if not s.ended.done()]
    if not living or seconds <= 0:
        return
    whole = asyncio.ensure_future(asyncio.wait(living))
    waits: list[asyncio.Future[Any]] = [whole]
    if hurry is not None:
        waits.append(asyncio.ensure_future(hurry.wait()))
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()
