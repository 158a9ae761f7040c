"""Every stage of a job against everything that can happen meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from launcher.base.errors import WorkError

from .fakes import SOON
from .supervised import CONFIG, SERVING, STAGES, STARTING, Play, World, play

__all__ = ["play"]

NAMES = {"worker": "decode-0", "service": "etcd", "frontend": "frontend-1", "front": "front"}
# what is recorded as the stage while the job is held in one
RECORDED = {"services": "frontend"}


async def quiet(world: World) -> None:
    """Long enough for anything that is to happen to happen; then the job is ended."""
    await asyncio.sleep(100)
    world.signal()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["TERM", "INT", "USR2"])
@pytest.mark.parametrize("cluster", ["slurm", "local"])
def test_signals(play: Play, stage: str, name: str, cluster: str) -> None:
    async def does(world: World) -> None:
        await world.at(stage)
        world.signal(name)

    world = play(World(hold={stage}), does, cluster=cluster)
    recorded, state, why = world.before_the_end()
    assert recorded == RECORDED.get(stage, stage)
    if name != "USR2":
        assert (world.code, state, why) == ({"TERM": 143, "INT": 130}[name], "cancelled", f"SIG{name}")
        assert world.job.journal.failure == f"ended by SIG{name}"
    elif stage in SERVING:
        assert (world.code, state) == (0, "drained")
    else:
        assert (world.code, state) == (1, "failed")
        assert why.startswith("SIGUSR2: its time is nearly over")


@pytest.mark.parametrize("stage", STAGES[:-1])
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (WorkError("this is why"), "this is why"),
        (ZeroDivisionError("x"), "a mistake in sgl-launch (ZeroDivisionError: x); please report it"),
        (FileNotFoundError(2, "No such file or directory", "srun"), "srun: No such file or directory"),
        (ModuleNotFoundError("No module named 'x'"),
         "sgl-launch is installed without a part that it needs (No module named 'x'); install it again in"),
    ],
)  # fmt: skip
def test_a_stage_fails(play: Play, stage: str, error: Exception, why: str) -> None:
    async def nothing(world: World) -> None:
        pass

    world = play(World(fails={stage: error}), nothing)
    assert world.code == 1
    stage_said, state, said = world.before_the_end()
    told_by_services = stage == "services" and isinstance(error, WorkError)
    assert (stage_said, state) == (stage if told_by_services else RECORDED.get(stage, stage), "failed")
    assert said.startswith(why)
    assert world.job.journal.failure == said


@pytest.mark.parametrize(("name", "stage"), [("etcd", "services"), ("decode-0", "workers"), ("frontend-1", "frontend")])
def test_a_part_that_cannot_be_started(play: Play, name: str, stage: str) -> None:
    async def nothing(world: World) -> None:
        pass

    world = play(World(fails={f"start {name}": WorkError("n1 has 2 GPUs")}, deaf={"nats": "stop"}), nothing)
    assert world.code == 1
    assert world.before_the_end() == (stage, "failed", "n1 has 2 GPUs")


def policy(kind: str, stage: str, rule: str) -> str:
    """What docs/config.md says of on_failure."""
    if kind == "front":
        return "restart"
    return rule if stage in SERVING or kind == "service" else "stop"


@pytest.mark.parametrize("stage", ["services", "ready", "warm", "serve"])
@pytest.mark.parametrize("kind", list(NAMES))
@pytest.mark.parametrize("status", [0, 1, 137, 143])
@pytest.mark.parametrize("rule", ["restart", "stop", "requeue"])
def test_a_part_ends(play: Play, stage: str, kind: str, status: int, rule: str) -> None:
    name, action = NAMES[kind], policy(kind, stage, rule)

    async def does(world: World) -> None:
        await world.at(stage)
        world.step(name).end(status)
        await asyncio.sleep(5)
        if action == "restart":
            assert not world.job.ending.done()
            assert world.part(name).restarts == 1
            assert len([s for s in world.steps if s.name == name]) == 2
            await quiet(world)

    config = f"{CONFIG}on_failure: {{workers: {rule}, services: {rule}, frontends: {rule}}}\n"
    world = play(World(hold={stage}), does, config)
    if action == "restart":
        assert world.code == 143
        assert world.events.count((name, "restarting", f"exit status {status}, restart 1")) == 1
        assert world.requeued == []
        return
    host = world.step(name).places[0].host
    assert world.code == (status or 1)
    stage_said, state, why = world.before_the_end()
    assert (stage_said, state) == (RECORDED.get(stage, stage), "failed")
    log = f"{world.job.run.path}/logs/{name}-0.log"
    assert why == f"{name} (rank 0) ended with exit status {status} on {host}; its log: {log}"
    assert world.requeued == ([host] if action == "requeue" else [])
    assert len([s for s in world.steps if s.name == name]) == 1


@pytest.mark.parametrize("stage", ["services", "ready", "warm", "serve"])
@pytest.mark.parametrize("how", ["lost", "engine"])
@pytest.mark.parametrize("rule", ["restart", "stop", "requeue"])
@pytest.mark.parametrize("deaf", ["", "stop", "all"])
def test_a_part_is_lost(play: Play, stage: str, how: str, rule: str, deaf: str) -> None:
    async def does(world: World) -> None:
        await world.at(stage)
        if how == "lost":
            world.part("decode-0").lost("it has not answered")
        else:
            world.job._engine_processes("n1", {"decode-0/0": {7, 8}, "prefill-0/0": {9}})
            world.job._engine_processes("n1", {"decode-0/0": {8}, "prefill-0/0": {9}})
        await asyncio.sleep(SOON)
        world.deaf.clear()
        await asyncio.sleep(20)
        if not world.job.ending.done():
            await quiet(world)

    ended = "a process of its engine ended or was stopped (rank decode-0/0, pid 7 on n1)"
    why = "it has not answered" if how == "lost" else ended
    world = play(World(hold={stage}, deaf={"decode-0": deaf}), does, f"{CONFIG}on_failure: {{workers: {rule}}}\n")
    assert ("decode-0", "lost", why) in world.events
    first = next(s for s in world.steps if s.name == "decode-0")
    asked = [how for how, at in first.asked if at < world.stopped_at]
    assert asked == ["stop", *["kill"] * {"": 0, "stop": 1, "all": 3}[deaf]]
    if policy("worker", stage, rule) == "restart":
        assert world.code == 143
        assert world.brought_back == ["decode-0"]
        assert world.states("prefill-0").count("started") == 1
    else:
        assert world.code == {"": 143, "stop": 137, "all": 1}[deaf]
        assert f"is lost: {why}; its log: " in world.before_the_end()[2]
        assert bool(world.requeued) == (stage in SERVING and rule == "requeue")


def test_stages_in_order(play: Play) -> None:
    async def does(world: World) -> None:
        await world.at("serve")
        await quiet(world)

    world = play(World(), does)
    began = [stage for stage, state, _ in world.events if state == "started" and stage in (*STAGES, "workers", "stop")]
    assert began == ["nodes", "preflight", "kernels", "keys", "services", "workers", "ready", "warm", "serve", "stop"]
    for stage in (*STARTING, "workers", "warm"):
        assert world.states(stage) == ["started", "done"], stage
    assert world.states("serve") == ["started", "cancelled"]
    assert world.job.nodes.orders[-1] == "end"  # type: ignore[attr-defined]
    assert not (world.job.run.path / "endpoint.json").exists()


def test_stages_are_those_of_the_records_readers(play: Play) -> None:
    from launcher.run.folder import STAGES as KNOWN

    async def does(world: World) -> None:
        await world.at("serve")
        world.signal()

    world = play(World(), does)
    processes = {*NAMES.values(), "nats", "frontend-0", "prefill-0", "front-1"}
    assert {stage for stage, _, _ in world.events} - processes == set(KNOWN)
