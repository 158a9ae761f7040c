"""A job's supervisor with steps, nodes and answers that are not real, on a clock that never waits."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher.job import context, part, stages, supervise
from launcher.job.context import Job
from launcher.job.journal import Journal
from launcher.job.part import Part
from launcher.job.steps import Place
from launcher.job.supervise import Supervisor
from launcher.kernels import stage as kernels
from launcher.run.folder import RunFolder

from .fakes import SOON, FakeChild, FakeNodes, FakeStep, Loop, Report, Verdict
from .helpers import BASE, plan_of

STAGES = ("nodes", "preflight", "kernels", "keys", "services", "ready", "warm", "serve")
STARTING, SERVING = STAGES[:6], STAGES[6:]
CONFIG = BASE + (
    "preflight: true\nfrontend: {replicas: 2, one_address: true}\nwarmup: {kernels: {cache_dir: /c, required: true}}\n"
    "timeouts: {stop: 8, drain: 60}\n"
)
LONG = 1000.0  # seconds after which a job that should have ended hangs


class World:
    """`hold` are stages that do not come to their end, `fails` what stages raise, `deaf` what steps do not hear."""

    def __init__(self, hold: Iterable[str] = (), fails: Mapping[str, BaseException] | None = None,
                 deaf: Mapping[str, str] | None = None, verdicts: Sequence[str] = ("warm",)) -> None:  # fmt: skip
        self.hold, self.fails, self.deaf = set(hold), dict(fails or {}), dict(deaf or {})
        self.verdicts = list(verdicts)
        self.loses_cancellation = False
        self.reached: list[str] = []
        self.passed: list[str] = []
        self.steps: list[FakeStep] = []
        self.base: dict[str, str] = {}
        self.started_at: list[tuple[str, float]] = []
        self.on_start: Callable[[str], None] = lambda _: None
        self.requeued: list[str] = []
        self.brought_back: list[str] = []
        self.taken_off: list[tuple[str, float]] = []
        self.back: Callable[[str], Awaitable[None]] = self._back
        self.stopped_at = -1.0
        self.started_by_then = 0
        self.living_then: list[FakeStep] = []
        self.code = -1
        self.job: Job
        self.supervisor: Supervisor

    async def _back(self, name: str) -> None:
        await asyncio.sleep(SOON)

    # --- what the supervisor is given --------------------------------------------------------------------------------

    async def gate(self, stage: str) -> None:
        self.reached.append(stage)
        await asyncio.sleep(SOON)
        if stage in self.fails:
            raise self.fails[stage]
        while stage in self.hold:
            try:
                await asyncio.sleep(SOON)
            except asyncio.CancelledError:
                if not self.loses_cancellation:
                    raise
                break
        self.passed.append(stage)

    def start(self, name: str, process: str, places: Sequence[Place], env: Mapping[str, str]) -> FakeStep:
        if f"start {name}" in self.fails:
            raise self.fails[f"start {name}"]
        step = FakeStep(name, process, places, {**self.base, **env}, self.deaf.get(name, ""))
        self.steps.append(step)
        self.started_at.append((name, asyncio.get_running_loop().time()))
        self.on_start(name)
        return step

    # --- what a test does --------------------------------------------------------------------------------------------

    async def at(self, stage: str) -> None:
        while stage not in self.reached and not (stage == "serve" and self.job.journal.stage == "serve"):
            await asyncio.sleep(SOON)

    def step(self, name: str) -> FakeStep:
        """The newest of this name."""
        return [s for s in self.steps if s.name == name][-1]

    def part(self, name: str) -> Part:
        return self.job.parts[name]

    def signal(self, name: str = "TERM") -> None:
        self.supervisor.signalled(name)

    @property
    def events(self) -> list[tuple[str, str, str]]:
        return [(e.stage, e.state, e.detail) for e in self.job.journal.events]

    def states(self, name: str) -> list[str]:
        return [state for stage, state, _ in self.events if stage == name]

    def before_the_end(self) -> tuple[str, str, str]:
        """The event that says why the job ends."""
        at = next(n for n, e in enumerate(self.events) if e[:2] == ("stop", "started"))
        return self.events[at - 1]


Play = Callable[..., World]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Supervise a job, in a world, while a coroutine of the test does things to it."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # so that they are as they were after the test

    def run(world: World, does: Callable[[World], Awaitable[None]], config: str = CONFIG, cluster: Any = "slurm",
            limit: float = LONG) -> World:  # fmt: skip
        folder = tmp_path / "t-12"
        (folder / "logs").mkdir(parents=True)
        plan = plan_of(config, cluster)
        _replace(monkeypatch, world)
        loop = Loop()
        monkeypatch.setattr(part.time, "monotonic", loop.time)
        journal = Journal(folder)
        journal.say = lambda text: None  # type: ignore[method-assign]

        async def whole() -> None:
            world.job = Job(plan, RunFolder(folder), "12", journal)
            world.supervisor = Supervisor(world.job)
            test = asyncio.ensure_future(does(world))
            job = asyncio.ensure_future(world.supervisor.supervise())
            done, _ = await asyncio.wait([test, job], timeout=limit, return_when=asyncio.FIRST_EXCEPTION)
            for one in done:
                one.result()
            assert done == {test, job}, f"one of the two hangs: {world.events[-3:]}"
            world.code = job.result()

        try:
            loop.run_until_complete(whole())
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            journal.close(5)
        holds(world)
        return world

    return run


def _replace(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    async def inline(work: Callable[..., Any], *args: Any) -> Any:
        if work.__name__ == "_make_keys":
            return await world.gate("keys")
        return None if work.__name__ == "_import_heavy" else work(*args)

    async def sweep(*_: Any) -> Report:
        await world.gate("warm")
        return Report(Verdict(world.verdicts.pop(0) if world.verdicts[1:] else world.verdicts[0]))

    async def back(deployment: Any, name: str, *_: Any) -> None:
        await world.back(name)
        world.brought_back.append(name)

    async def taken_off(deployment: Any, name: str, *_: Any) -> None:
        world.taken_off.append((name, asyncio.get_running_loop().time()))

    async def prepared(*_: Any) -> kernels.Prepared:
        await world.gate("kernels")
        return kernels.Prepared()

    async def forever(*_: Any) -> None:
        await asyncio.get_running_loop().create_future()

    async def nothing(*_: Any) -> Any:
        return "", []

    async def requeue(job_id: str, host: str, most: int, journal: Journal) -> None:
        world.requeued.append(host)

    real = supervise.stop_all

    async def stop_all(*args: Any) -> None:
        world.stopped_at, world.started_by_then = asyncio.get_running_loop().time(), len(world.steps)
        world.living_then = [s for s in world.steps if not s.ended.done()]
        await real(*args)

    for module, name, stand_in in (
        (asyncio, "to_thread", inline),
        (context, "Nodes", lambda plan, *_: FakeNodes(world.gate, plan)),
        (context, "SlurmSteps", lambda *_: world),
        (context, "LocalSteps", lambda *_: world),
        (stages, "Child", lambda *_, **__: FakeChild(world.gate)),
        (stages, "wait_for_services", lambda *_: world.gate("services")),
        (stages, "wait_until_ready", lambda *_: world.gate("ready")),
        (stages, "sweep_all", sweep),
        (stages, "bring_back", back),
        (stages, "find_caddy", lambda path: None),
        (stages, "wait_for_answer", nothing),
        (stages, "take_off", taken_off),
        (stages, "prove_at", nothing),
        (stages, "watch", forever),
        (stages, "watch_registrations", forever),
        (kernels, "prepare_all", prepared),
        (kernels, "pack_back", nothing),
        (supervise, "stop_all", stop_all),
        (supervise, "requeue", requeue),
    ):
        monkeypatch.setattr(module, name, stand_in)


def holds(world: World) -> None:
    """What is so however a job ends."""
    done = {stage for stage, state, _ in world.events if state == "done"}
    begun = {stage for stage, state, _ in world.events if state == "started"}
    assert done <= {*world.passed, "workers", "frontend"}, "a stage is recorded as done that was not"
    assert done <= begun
    assert world.events.count(("stop", "started", f"exit status {world.code}")) == 1
    at = world.events.index(("stop", "started", f"exit status {world.code}"))
    assert not [e for e in world.events[at:] if e[1] in ("done", "restarting", "ready")]
    assert not [e for e in world.events[at + 1 :] if e[1] == "started"]
    assert len(world.steps) == world.started_by_then, "something was started after the end had begun"
    tiers: list[list[float]] = [[], [], []]
    for one in world.job.parts.values():
        step = one.step
        if step is None:
            continue
        assert step.ended.done() or step.deaf == "all"
        stops = [t for how, t in step.asked if how == "stop" and t >= world.stopped_at]
        living = any(s is step for s in world.living_then)
        assert len(stops) == living, "each that lives is asked once, and no other"
        tiers[{"worker": 1, "service": 2}.get(one.kind, 0)] += stops
        kills = [t for how, t in step.asked if how == "kill" and t >= world.stopped_at]
        assert bool(kills) == (living and bool(step.deaf)), "force is used on those that do not hear, and on them alone"
    for first, then in itertools.pairwise(tiers):
        assert max(first, default=0) <= min(then, default=LONG), "frontends end before workers, those before services"
