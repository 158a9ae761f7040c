"""Whether the parts that serve still answer. Each is asked at intervals and within a limit; one that hangs is lost, as
if it had died.

What is asked here needs no file: connections to etcd and NATS are kept, so that a run folder on storage that hangs
makes no part look dead.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from launcher.job.part import Part
from launcher.job.ready import health_error, prove_at
from launcher.job.services import nats_connection
from launcher.run.deployment import Deployment, GroupAddress, etcd_client

if TYPE_CHECKING:
    import aiohttp

EVERY = 1.0  # seconds between an answer and the next question; more with more than a hundred parts
ANSWER, AGAIN = 6.0, 2.0  # seconds that a part has to answer, and then once more
FRONT_ANSWER = 2.0  # seconds that the front has for an answer of its own
SLOW_ANSWER = 20.0  # the same for servers in Python, which a long prompt may hold up
IDLE = 30.0  # seconds without a request, after which a worker gets one
THROUGH = 60.0  # seconds that such a request may take: a kernel may have to be compiled

Ask = Callable[[], Awaitable[None]]


async def watch(parts: Sequence[Part], deployment_now: Callable[[], Deployment]) -> None:
    """Runs until it is cancelled."""
    from warmup.requests.session import open_session

    every = max(EVERY, len(parts) / 100)
    async with open_session(None, deployment_now().ca) as session:
        questions = Questions(parts, deployment_now, session)
        try:
            await asyncio.gather(
                *(keep_asking(part, ask, limit, every) for part in parts for ask, limit in questions.of(part)),
                *(questions.keep_idle_ones_answering(part) for part in parts if part.kind == "worker"),
            )
        finally:
            questions.close()


async def keep_asking(part: Part, ask: Ask, limit: float = ANSWER, every: float = EVERY, again: float = AGAIN) -> None:
    """Ask a part while it is in service; it is lost when it answers neither within `limit` nor then within `again`
    seconds (the second time is for a supervisor that was held up itself)."""
    while True:
        await part.in_service.wait()
        hangs = not await answers(ask, limit) and part.in_service.is_set() and not await answers(ask, again)
        if hangs and part.in_service.is_set():
            part.lost(f"it has not answered for {limit + again:g} s")
        await asyncio.sleep(every)


async def answers(ask: Ask, limit: float) -> bool:
    """Whether an answer comes within `limit` seconds. One that is refused at once is tried again: what has ended is
    its keeper's business."""

    async def until_answered() -> None:
        while True:
            try:
                return await ask()
            except Exception:  # every client library has its own
                await asyncio.sleep(0.2)

    # not wait_for: until Python 3.12 it loses a cancellation that comes together with the answer
    task = asyncio.ensure_future(until_answered())
    try:
        done, _ = await asyncio.wait([task], timeout=limit)
    finally:
        task.cancel()
    return bool(done)


class Questions:
    """What each kind of part is asked."""

    def __init__(
        self, parts: Sequence[Part], deployment_now: Callable[[], Deployment], session: aiohttp.ClientSession
    ) -> None:
        self._parts, self._now, self._session = parts, deployment_now, session
        self._threads = ThreadPoolExecutor(1, "liveness")
        self._etcd: Any = None
        self._nats: Any = None

    def of(self, part: Part) -> list[tuple[Ask, float]]:
        """Questions to a part, each with its limit in seconds."""
        if part.kind == "service":
            return [({"etcd": self._ask_etcd, "nats": self._ask_nats}[part.name], ANSWER)]
        if part.kind == "frontend":
            # not /health, for which it asks etcd
            number = [p.name for p in self._parts if p.kind == "frontend"].index(part.name)
            limit = SLOW_ANSWER if self._now().health == "" else ANSWER
            return [(lambda: self._ask_frontend(number), limit)]
        if part.name == "front":
            return [(self._ask_front, ANSWER)]
        if part.kind == "worker" and self._now().health is None:
            return [(lambda: self._get(_system(self._group(part)) + "/live"), ANSWER)]
        if part.kind == "worker" and self._now().health:
            url = f"{self._group(part).url}/ping"
            return [(lambda: self._get(url, self._now().keys.worker), SLOW_ANSWER)]
        return []

    async def keep_idle_ones_answering(self, part: Part) -> None:
        """A request through a worker that has had none for a while, so that one whose engine hangs behind a server
        that answers is found before a user does."""
        health, before = self._now().health, ""
        while health is None or health:
            await asyncio.sleep(IDLE)
            await part.in_service.wait()
            group = self._group(part)
            if health:  # SGLang's own health makes a token
                why = await health_error(self._session, group.url + health, THROUGH)
                why = why and await health_error(self._session, group.url + health, THROUGH)
            else:
                now = await self._requests(group)
                idle, before = bool(now) and now == before, now
                why = await self._ask_through(part, group) if idle else ""
                before = await self._requests(group) if idle else before
            if why and part.in_service.is_set():
                part.lost(f"it was idle, and a request through it was not answered: {why}")

    async def _ask_through(self, part: Part, group: GroupAddress) -> str:
        """What is wrong with a request through this worker; empty if it is answered. Where a partner of it is missing
        nothing can be said."""
        from warmup.requests import Worker

        deployment = self._now()
        worker = Worker("agg" if group.role == "aggregated" else group.role, group.name, address=group.rpc)
        try:
            await prove_at(deployment.endpoints[0], deployment, [worker], THROUGH)
        except Exception as e:
            whole = all(p.in_service.is_set() for p in self._parts)
            return str(e) if whole else ""
        return ""

    async def _requests(self, group: GroupAddress) -> str:
        """The worker's counters of requests, as text; empty if they can't be had or requests run."""
        try:
            async with self._session.get(_system(group) + "/metrics") as answer:
                return idle_counters(await answer.text())
        except Exception:  # whether it answers is another question
            return ""

    async def _ask_front(self) -> None:
        async with self._session.head(self._now().endpoint) as answer:
            await answer.read()

    async def _get(self, url: str, key: str | None = None) -> None:
        """Any status is an answer: a part that says it is not well still talks."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self._session.get(url, headers=headers) as answer:
            await answer.read()

    async def _ask_frontend(self, number: int) -> None:
        """Through the front; one that does not answer itself tells nothing about the frontends behind it."""
        now = self._now()
        if await answers(self._ask_front, FRONT_ANSWER):
            await self._get(f"{now.endpoints[number]}/live", now.keys.admin)

    async def _ask_etcd(self) -> None:
        def ask() -> None:
            client, self._etcd = self._etcd or etcd_client(self._now(), timeout=2), None
            client.get("sgl-launch/ready")
            self._etcd = client  # not after an error: pyetcd then refuses for 300 s, though etcd may be back

        await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    async def _ask_nats(self) -> None:
        try:
            if self._nats is None:
                self._nats = await nats_connection(self._now())
            await self._nats.flush(timeout=2)  # a PING, and its PONG
        except BaseException:
            self._nats = None
            raise

    def _group(self, part: Part) -> GroupAddress:
        return next(g for g in self._now().groups if g.name == part.name)

    def close(self) -> None:
        self._threads.shutdown(wait=False)


def _system(group: GroupAddress) -> str:
    """Dynamo's own small server beside the engine."""
    return f"http://{group.address}:{group.ports['system']}"


_COUNTER = re.compile(r"^dynamo_component_(requests_total|inflight_requests)\{.*\} (\S+)$", re.M)


def idle_counters(metrics: str) -> str:
    """The counters of requests in what a worker of Dynamo says of itself; empty if it has none, or a request runs."""
    found = _COUNTER.findall(metrics)
    if any(name == "inflight_requests" and float(value) for name, value in found):
        return ""
    return " ".join(value for name, value in found if name == "requests_total")
