"""Parts that hang are lost; those that are slow once, refuse or are not in service are not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from launcher.job import liveness
from launcher.job.liveness import Questions, answers, idle_counters, keep_asking
from launcher.job.part import Part


@dataclass
class FakePart:
    in_service: asyncio.Event = field(default_factory=asyncio.Event)
    why: str = ""

    def lost(self, why: str) -> None:
        self.why = why
        self.in_service.clear()


async def hang() -> None:
    await asyncio.sleep(3600)


async def watched(ask: Callable[[], Awaitable[None]], seconds: float, in_service: bool = True) -> FakePart:
    part = FakePart()
    if in_service:
        part.in_service.set()
    task = asyncio.create_task(keep_asking(part, ask, limit=0.5, every=0.01, again=0.2))  # type: ignore[arg-type]
    await asyncio.sleep(seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return part


def test_one_that_hangs_is_lost() -> None:
    assert asyncio.run(watched(hang, 1.2)).why == "it has not answered for 0.7 s"


def test_one_that_is_back_at_once_is_asked_again() -> None:
    """As NATS, which is started again within 0.2 s: between two looks."""

    async def play() -> int:
        part = Part(None, "nats", "service", "nats", (0,), (), dict)  # type: ignore[arg-type]
        losses = 0

        async def keeper() -> None:
            nonlocal losses
            while True:
                part._lost = asyncio.get_running_loop().create_future()
                part.in_service.set()
                await part._lost
                losses += 1

        tasks = [asyncio.ensure_future(c) for c in (keeper(), keep_asking(part, hang, 0.1, 0.05, 0.1))]
        await asyncio.sleep(1.5)
        for task in tasks:
            task.cancel()
        return losses

    assert asyncio.run(play()) > 2


def test_one_that_answers_is_not() -> None:
    asked = []

    async def ask() -> None:
        asked.append(1)

    assert asyncio.run(watched(ask, 0.3)).why == ""
    assert len(asked) > 3


def test_one_that_was_slow_once_is_not() -> None:
    asked = []

    async def ask() -> None:
        asked.append(1)
        if len(asked) == 2:
            await hang()

    assert asyncio.run(watched(ask, 1.0)).why == ""


def test_one_that_is_being_started_is_not_asked() -> None:
    assert asyncio.run(watched(hang, 0.5, in_service=False)).why == ""


def test_a_refusal_is_tried_again() -> None:
    asked = []

    async def ask() -> None:
        asked.append(1)
        if len(asked) < 3:
            raise ConnectionRefusedError

    assert asyncio.run(answers(ask, 2.0))
    assert len(asked) == 3


@pytest.mark.parametrize("metrics, shown", [
    ('dynamo_component_inflight_requests{a="b"} 0\ndynamo_component_requests_total{a="b"} 7\n', "7"),
    ('dynamo_component_inflight_requests{a="b"} 1\ndynamo_component_requests_total{a="b"} 7\n', ""),
    ('other{a="b"} 7\n', ""),
])  # fmt: skip
def test_counters(metrics: str, shown: str) -> None:
    assert idle_counters(metrics) == shown


def test_etcd_is_found_again_after_it_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        """As pyetcd's: one that has failed refuses from then on."""

        def __init__(self) -> None:
            self.failed = False

        def get(self, key: str) -> None:
            self.failed = self.failed or hangs
            if self.failed:
                raise ConnectionError("no etcd endpoint available")

    made: list[Client] = []

    def client(deployment: Any, timeout: float) -> Client:
        made.append(Client())
        return made[-1]

    hangs = True
    monkeypatch.setattr(liveness, "etcd_client", client)
    questions: Any = Questions([], lambda: None, None)  # type: ignore[arg-type, return-value]
    assert not asyncio.run(answers(questions._ask_etcd, 0.5))
    hangs = False
    assert asyncio.run(answers(questions._ask_etcd, 1.0))
    count = len(made)
    assert asyncio.run(answers(questions._ask_etcd, 1.0))
    assert len(made) == count, "a connection that works is kept"
