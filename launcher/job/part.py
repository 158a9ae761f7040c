"""One part of the deployment (a worker group, a service, a frontend) and what keeps it running.

A part is started, watched, and when it ends or is lost treated as launcher.job.policy says: started again while the
others serve, or the end of the job.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from launcher.base.errors import reason
from launcher.job.journal import Journal
from launcher.job.logs import Logs
from launcher.job.policy import Action, Kind, Phase, Window, decide
from launcher.job.steps import Ended, Place, Step, Steps
from launcher.plan.model import Plan

FORCE = 2.0  # seconds that a part which is lost gets to end by itself


class Job(Protocol):
    """What a part needs of the supervisor."""

    plan: Plan
    journal: Journal
    logs: Logs
    steps: Steps
    phase: Phase

    def places(self, nodes: Sequence[int], gpus: Sequence[Sequence[int]] = ()) -> list[Place]: ...

    def end(self, part: Part, ended: Ended, action: Action) -> None: ...

    async def is_ending(self, seconds: float) -> bool: ...


@dataclass
class Part:
    """`process` is its function of the job script; `gpus` are positions on each of its nodes (nothing: as the node
    has them); `env` gives the variables that it needs beyond all processes'."""

    job: Job
    name: str
    kind: Kind
    process: str
    nodes: tuple[int, ...]
    gpus: tuple[tuple[int, ...], ...]
    env: Callable[[], Mapping[str, str]]
    before_restart: Callable[[Part], Awaitable[None]] | None = None
    after_restart: Callable[[Part], Awaitable[None]] | None = None
    meanwhile: Callable[[Part], Awaitable[None]] | None = None
    """What is done at once where a restart has to wait."""
    step: Step | None = None
    restarts: int = 0
    in_service: asyncio.Event = field(default_factory=asyncio.Event)
    engine: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """Its engines' own processes now: pids by host and rank."""
    _old: set[int] = field(default_factory=set)
    _lost: asyncio.Future[str] | None = None
    _task: asyncio.Task[None] | None = None
    _back: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start it and whatever keeps it running."""
        rules = self.job.plan.config.on_failure
        self._begin()
        self._task = asyncio.create_task(self._watch(Window(rules.max_restarts, rules.window)), name=self.name)

    def stop_keeping(self) -> None:
        """The job ends: nothing is started again."""
        for task in (self._task, self._back):
            if task is not None:
                task.cancel()

    def lost(self, why: str) -> None:
        """It lives, but is of no use any more: it is ended, and treated as one that has ended."""
        self.in_service.clear()  # now: it may be back before anybody looks again
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(why)

    def engine_now(self, host: str, found: Mapping[str, set[int]]) -> None:
        """The engine's own processes on a host have changed: one that has ended takes its group with it."""
        for (at, rank), pids in list(self.engine.items()):
            if at == host and (gone := pids - found.get(rank, set())):
                self.engine[at, rank] = pids - gone
                self.lost(f"a process of its engine ended or was stopped (rank {rank}, pid {min(gone)} on {host})")
        for rank, pids in found.items():
            self.engine[host, rank] = pids - self._old

    def _begin(self) -> None:
        places = self.job.places(self.nodes, self.gpus)
        self.job.journal.event(self.name, "started", " ".join(p.host for p in places))
        self._old |= {pid for pids in self.engine.values() for pid in pids}
        self.engine.clear()
        self._lost = asyncio.get_running_loop().create_future()
        self.step = self.job.steps.start(self.name, self.process, places, self.env())

    async def _watch(self, window: Window) -> None:
        try:
            await self._keep(window)
        except Exception as e:  # whatever it is: nobody else would notice that the part is gone
            self.job.end(self, Ended(1, lost=f"it could not be started again: {reason(e)}"), "fail")

    async def _keep(self, window: Window) -> None:
        rules = self.job.plan.config.on_failure
        while True:
            ended, why = await self._end_of_step()
            self.in_service.clear()
            # it may have ended because the job is being ended: then the supervisor's own TERM is near
            if self.job.plan.cluster == "slurm" and await self.job.is_ending(2.0 if ended.cancelled else 0.5):
                return
            if ended.not_begun:
                pause = FORCE
                self.job.journal.say(f"{self.name}: Slurm did not start it ({ended.said}); trying again")
            else:
                action = decide(self.kind, self.job.phase, rules, window, time.monotonic())
                if action == "ignore":
                    return
                if action != "restart":
                    return self.job.end(self, ended, action)
                self.restarts += 1
                pause = window.note(time.monotonic())
                self.job.journal.event(self.name, "restarting", f"{why}, restart {self.restarts}")
                self.job.journal.say(f"{self.name}: {why}; restart {self.restarts}, the others go on serving")
                if pause and self.meanwhile is not None:
                    await asyncio.wait([asyncio.ensure_future(self.meanwhile(self))], timeout=FORCE)
                if self.before_restart is not None:
                    await self.before_restart(self)
            if await self.job.is_ending(pause):
                return
            self._begin()
            self._come_back()

    def _come_back(self) -> None:
        if self._back is not None:
            self._back.cancel()
        if self.after_restart is None:
            self.in_service.set()
        elif self.restarts:
            self._back = asyncio.create_task(self._bring_back(), name=f"{self.name} back")

    async def _bring_back(self) -> None:
        assert self.after_restart is not None
        try:
            await self.after_restart(self)
            self.in_service.set()
        except Exception as e:  # whatever it is, the part does not serve
            self.job.journal.say(reason(e))
            self.lost(reason(e))

    async def _end_of_step(self) -> tuple[Ended, str]:
        """How the step ended, and that in words; ends it when the part is lost."""
        assert self.step is not None
        assert self._lost is not None
        step, lost = self.step, self._lost
        waits: list[asyncio.Future[Any]] = [step.ended, lost]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if step.ended.done():
            ended = step.ended.result()
            return ended, f"exit status {ended.status}"
        why = lost.result()
        self.job.journal.event(self.name, "lost", why)
        self.job.journal.say(f"{self.name} is lost: {why}")
        step.stop()
        await asyncio.wait([step.ended], timeout=FORCE)
        for _ in range(3):
            if step.ended.done():
                break
            step.kill()
            await asyncio.wait([step.ended], timeout=FORCE)
        ended = step.ended.result() if step.ended.done() else Ended(1)
        return Ended(ended.status or 1, ended.host, ended.rank, lost=why), why
