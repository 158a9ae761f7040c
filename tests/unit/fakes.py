"""Stand-ins for what a supervisor starts and asks, and a clock that never waits."""

from __future__ import annotations

import asyncio
import selectors
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.job.facts import Facts
from launcher.job.steps import Ended, Place

SOON = 0.01  # seconds that anything takes
Gate = Callable[[str], Awaitable[None]]


class Clock(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Time goes on when there is nothing to do."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "nothing will ever happen again"
            self.now += timeout
        return found


class Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


@dataclass
class FakeStep:
    """Ends when it is asked to, unless `deaf` says by what it can't be ended: stop, or kill too."""

    name: str
    process: str
    places: Sequence[Place]
    env: Mapping[str, str]
    deaf: str
    ended: asyncio.Future[Ended] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    asked: list[tuple[str, float]] = field(default_factory=list)

    def _asked(self, how: str, status: int) -> None:
        loop = asyncio.get_running_loop()
        self.asked.append((how, loop.time()))
        if not self.deaf or (self.deaf == "stop" and how == "kill"):
            loop.call_later(SOON, self.end, status)

    def stop(self) -> None:
        self._asked("stop", 143)

    def kill(self) -> None:
        self._asked("kill", 137)

    def end(self, status: int, **more: Any) -> None:
        if not self.ended.done():
            self.ended.set_result(Ended(status, self.places[0].host, 0, **more))


class FakeNodes:
    """All answer at once."""

    def __init__(self, gate: Gate, plan: Any) -> None:
        self._gate = gate
        self.left_out: list[str] = []
        self.orders: list[str] = []
        self.compilers: Counter[str] = Counter()
        self.gpus: dict[str, list[str]] = {}
        self.places = [Place(f"n{n}", f"10.0.0.{n + 1}", "eth0", order=n) for n in range(plan.nodes + plan.spare_nodes)]
        self.tell = self.orders.append

    async def find(self, limit: float) -> None:
        await self._gate("nodes")

    def facts(self, node: int) -> Facts:
        return Facts(self.places[node].host)

    def listening(self) -> dict[str, frozenset[int]]:
        return {}

    async def claim(self, blocks: Sequence[int]) -> list[str]:
        return []

    async def replace(self, indices: Sequence[int]) -> list[tuple[str, str]]:
        return []

    async def end(self, limit: float) -> None:
        self.orders.append("end")


@dataclass
class Verdict:
    state: str

    @property
    def warm(self) -> bool:
        return self.state == "warm"

    reasons: tuple[str, ...] = ("decode: 5 errors",)


@dataclass
class Report:
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict.state}


class FakeChild:
    """The program of the stage preflight."""

    def __init__(self, gate: Gate) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.signals: list[int] = []
        self._task = loop.create_task(self._run(gate))

    async def _run(self, gate: Gate) -> None:
        try:
            await gate("preflight")
        except Exception as e:
            self.ended.set_exception(e)
        else:
            self.ended.set_result(0)

    def signal(self, number: int) -> None:
        self.signals.append(number)
        self._task.cancel()

    def close(self) -> None:
        assert self.signals == [signal.SIGTERM]
