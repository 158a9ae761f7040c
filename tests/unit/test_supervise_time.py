"""When things happen: restarts, the sweep that begins anew, and the end tier by tier."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from .fakes import SOON
from .supervised import CONFIG, Play, World, play

__all__ = ["play"]

NOTICED = 0.5  # seconds that a part on Slurm waits before it takes its end for its own


async def served(world: World) -> None:
    await world.at("serve")
    await asyncio.sleep(1)


@pytest.mark.parametrize("cluster", ["slurm", "local"])
def test_pauses_between_restarts(play: Play, cluster: str) -> None:
    pauses: list[float] = []

    async def does(world: World) -> None:
        await served(world)
        loop = asyncio.get_running_loop()
        for count in range(10):
            world.step("decode-0").end(1)
            ended = loop.time()
            while world.part("decode-0").restarts == count or world.step("decode-0").ended.done():
                await asyncio.sleep(SOON)
            pauses.append(world.started_at[-1][1] - ended - (NOTICED if cluster == "slurm" else 0))
        world.signal()

    play(World(), does, f"{CONFIG}on_failure: {{max_restarts: 100, window: 5000}}\n", cluster=cluster)
    assert pauses == pytest.approx([0, 1, 2, 4, 8, 16, 32, 60, 60, 60], abs=0.001)


def test_one_that_waits_for_its_restart_is_off_the_list_at_once(play: Play) -> None:
    ends: list[float] = []

    async def does(world: World) -> None:
        await served(world)
        for count in range(3):
            world.step("decode-0").end(1)
            ends.append(asyncio.get_running_loop().time())
            while world.part("decode-0").restarts == count or world.step("decode-0").ended.done():
                await asyncio.sleep(SOON)
        world.signal()

    world = play(World(), does, f"{CONFIG}on_failure: {{max_restarts: 100, window: 5000}}\n", cluster="local")
    # the first has no pause: it is taken off when it is brought back
    assert [at for _, at in world.taken_off] == pytest.approx(ends[1:], abs=0.1)


@pytest.mark.parametrize(("most", "restarts"), [(0, 0), (1, 1), (3, 3)])
def test_more_restarts_than_allowed(play: Play, most: int, restarts: int) -> None:
    async def does(world: World) -> None:
        await served(world)
        for _ in range(most + 1):
            world.step("decode-0").end(7)
            await asyncio.sleep(10)

    world = play(World(), does, f"{CONFIG}on_failure: {{max_restarts: {most}, window: 300}}\n")
    assert world.code == 7
    assert world.states("decode-0").count("restarting") == restarts
    assert world.before_the_end()[1] == "failed"


def test_restarts_that_are_long_past_do_not_count(play: Play) -> None:
    async def does(world: World) -> None:
        await served(world)
        for _ in range(5):
            world.step("decode-0").end(1)
            await asyncio.sleep(50)
        world.signal()

    world = play(World(), does, f"{CONFIG}on_failure: {{max_restarts: 1, window: 40}}\n")
    assert world.code == 143
    assert world.states("decode-0").count("restarting") == 5
    ends = [at for name, at in world.started_at if name == "decode-0"][1:]
    assert [later - first for first, later in itertools.pairwise(ends)] == pytest.approx([50] * 4, abs=0.001)


def test_each_part_has_a_count_of_its_own(play: Play) -> None:
    async def does(world: World) -> None:
        await served(world)
        for name in ("decode-0", "prefill-0", "frontend-0", "frontend-1", "etcd", "nats", "front", "front-1"):
            world.step(name).end(1)
        await asyncio.sleep(10)
        world.signal()

    world = play(World(), does, f"{CONFIG}on_failure: {{max_restarts: 1, services: restart}}\n")
    assert world.code == 143
    assert [p.restarts for p in world.job.parts.values()] == [1] * 8
    assert all(p.in_service.is_set() for p in world.job.parts.values()), "all are in service again, the front too"
    assert world.states("services") == ["started", "done"]


# --- the end has begun ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", ["slurm", "local"])
@pytest.mark.parametrize("first", ["TERM", "end"])
@pytest.mark.parametrize("name", ["decode-0", "front", "frontend-0"])
def test_one_that_ends_with_the_job_is_not_started_again(play: Play, cluster: str, first: str, name: str) -> None:
    async def does(world: World) -> None:
        await served(world)
        if first == "TERM":
            world.signal()
            world.step(name).end(143)
        else:
            world.step(name).end(143)
            await asyncio.sleep(0.2 if cluster == "slurm" else 0)
            world.signal()

    world = play(World(), does, cluster=cluster)
    assert world.code == 143
    assert world.before_the_end()[:2] == ("serve", "cancelled")
    assert "restarting" not in world.states(name)


@pytest.mark.parametrize("when", [NOTICED + 0.5, NOTICED + 2.5])
def test_the_end_within_a_pause(play: Play, when: float) -> None:
    """The second restart has a pause of 1 s, the third one of 2 s."""

    async def does(world: World) -> None:
        await served(world)
        for wait in (5.0, when):
            world.step("decode-0").end(1)
            await asyncio.sleep(wait)
        if when > 2:
            world.step("decode-0").end(1)
            await asyncio.sleep(1.5)
        world.signal()

    world = play(World(), does, f"{CONFIG}on_failure: {{max_restarts: 9}}\n")
    assert world.code == 143
    assert world.states("decode-0").count("started") == (2 if when < 2 else 3)


def test_the_end_while_one_comes_back(play: Play) -> None:
    async def never(name: str) -> None:
        await asyncio.get_running_loop().create_future()

    async def does(world: World) -> None:
        await served(world)
        world.back = never
        world.step("decode-0").end(1)
        await asyncio.sleep(5)
        world.signal()

    world = play(World(), does)
    assert world.code == 143
    assert not world.part("decode-0").in_service.is_set()


@pytest.mark.parametrize("cluster", ["slurm", "local"])
@pytest.mark.parametrize("name", ["nats", "etcd", "prefill-0", "decode-0", "frontend-0", "frontend-1", "front"])
def test_a_signal_right_after_a_start(play: Play, cluster: str, name: str) -> None:
    async def nothing(world: World) -> None:
        pass

    world = World()
    world.on_start = lambda started: world.signal() if started == name else None
    play(world, nothing, cluster=cluster)
    assert world.code == 143
    assert [s.name for s in world.living_then][-1] == name, "what was started is ended, and no more is started"


def test_a_signal_is_heard_between_the_starts_of_many_workers(play: Play) -> None:
    async def nothing(world: World) -> None:
        pass

    def begun(name: str) -> None:
        if name == "prefill-0":  # a signal's handler runs when the loop gets to it
            asyncio.get_running_loop().call_soon(world.signal)

    world = World()
    world.on_start = begun
    play(world, nothing)
    assert world.code == 143
    assert world.states("workers") == ["started", "cancelled"]
    assert "decode-0" not in world.job.parts


@pytest.mark.parametrize("stage", ["nodes", "kernels", "services", "ready"])
def test_a_cancellation_that_is_lost(play: Play, stage: str) -> None:
    """asyncio.wait_for can lose one: the stages still do not go on."""

    async def does(world: World) -> None:
        await world.at(stage)
        world.signal()

    world = World(hold={stage})
    world.loses_cancellation = True
    world.deaf = {"nats": "stop"}  # so that the end takes a while
    play(world, does)
    assert world.code == 143
    assert stage not in {name for name, state, _ in world.events if state == "done"}


# --- a part that can't be started again -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(11, "Resource temporarily unavailable"), "system: Resource temporarily unavailable"),
        (KeyError("x"), "a mistake in sgl-launch (KeyError: 'x'); please report it"),
    ],
)
def test_a_restart_that_fails_ends_the_job(play: Play, error: Exception, why: str) -> None:
    async def does(world: World) -> None:
        await served(world)
        world.fails["start decode-0"] = error
        world.step("decode-0").end(1)

    world = play(World(), does)
    assert world.code == 1
    assert f"could not be started again: {why}" in world.before_the_end()[2]


def test_one_that_does_not_come_back_is_started_again(play: Play) -> None:
    async def fails(name: str) -> None:
        if not world.brought_back and world.part(name).restarts < 3:
            raise RuntimeError("no answer")

    async def does(world: World) -> None:
        await served(world)
        world.back = fails
        world.step("decode-0").end(1)
        await asyncio.sleep(60)
        world.signal()

    world = World()
    play(world, does)
    assert world.part("decode-0").restarts == 3
    assert world.part("decode-0").in_service.is_set()


def test_a_step_that_slurm_does_not_begin(play: Play) -> None:
    async def does(world: World) -> None:
        await served(world)
        for _ in range(6):
            world.step("decode-0").end(1, not_begun=True, said="error: Unable to contact slurm controller")
            await asyncio.sleep(5)
        world.signal()

    world = play(World(), does, f"{CONFIG}on_failure: {{max_restarts: 0}}\n")
    assert world.code == 143
    assert world.part("decode-0").restarts == 0


# --- the sweep --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noticed", ["during", "after"])
def test_a_worker_that_dies_during_the_sweep(play: Play, noticed: str) -> None:
    """Its end may be known only once the sweep has failed."""

    async def does(world: World) -> None:
        await world.at("warm")
        if noticed == "during":
            world.step("decode-0").end(1)
            await asyncio.sleep(5)
            world.hold.clear()
        else:
            world.hold.clear()
            await asyncio.sleep(1)
            world.step("decode-0").end(1)
        await served(world)
        world.signal()

    config = CONFIG.replace("warmup: {", "warmup: {requests: {required: true}, ")
    world = play(World(hold={"warm"}, verdicts=["failed", "warm"]), does, config)
    assert world.code == 143
    assert world.reached.count("warm") == 2
    assert world.states("warm") == ["started", "done"]


@pytest.mark.parametrize("required", ["true", "false"])
def test_a_sweep_that_is_not_warm(play: Play, required: str) -> None:
    async def does(world: World) -> None:
        if required == "false":
            await served(world)
            world.signal()

    config = CONFIG.replace("warmup: {", f"warmup: {{requests: {{required: {required}}}, ")
    world = play(World(verdicts=["not steady"]), does, config)
    assert world.code == (1 if required == "true" else 143)
    assert world.states("warm") == ["started", "failed" if required == "true" else "not warm"]


# --- the last seconds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["TERM", "INT", "USR2", ""])
def test_draining(play: Play, again: str) -> None:
    """Frontends with running requests get up to timeouts.drain; a second TERM or INT ends that."""

    async def does(world: World) -> None:
        await served(world)
        world.signal("USR2")
        await asyncio.sleep(10)
        if again:
            world.signal(again)

    world = play(World(deaf={"frontend-0": "stop"}), does)
    assert world.code == 0
    workers = [at for how, at in world.step("decode-0").asked if how == "stop"]
    # the frontend is killed at once, or it has a quarter of timeouts.stop after the drain
    drained = 10 if again in ("TERM", "INT") else 60 + 2
    assert workers[0] - world.stopped_at == pytest.approx(drained, abs=0.1)


@pytest.mark.parametrize("deaf", ["frontend-0", "decode-0", "etcd"])
@pytest.mark.parametrize("how", ["stop", "all"])
def test_those_that_do_not_hear(play: Play, deaf: str, how: str) -> None:
    async def does(world: World) -> None:
        await served(world)
        world.signal()

    world = play(World(deaf={deaf: how}), does)
    assert world.code == 143
    asked = [(how, at - world.stopped_at) for how, at in world.step(deaf).asked]
    assert [how for how, _ in asked] == ["stop", "kill", *["kill"] * (how == "all")]
    assert asked[1][1] == pytest.approx(8, abs=0.1)
    services = [at - world.stopped_at for how, at in world.step("nats").asked if how == "stop"]
    assert services[0] == pytest.approx({"frontend-0": 2, "decode-0": 7, "etcd": 0}[deaf], abs=0.1)
