"""Readiness, proven: every worker registered, then a real request answered through each.

Workers that register nowhere (SGLang without Dynamo) are asked for their own health instead; where
they have none either (`dynamo serve`), the request through the frontend is all.

The frontend's /health and /v1/models are not enough: the first is 200 without any worker, and a
model is listed though every request fails when a worker advertises an address that is wrong.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from launcher.base.errors import WorkError
from launcher.front.planes import SERVER_NAME
from launcher.job.journal import Journal
from launcher.job.services import client_context
from launcher.run.deployment import Deployment, GroupAddress, etcd_client, expected_workers
from launcher.run.registry import Registration, forget, registrations

if TYPE_CHECKING:
    import aiohttp

    from warmup.requests import Worker

_EVERY = 0.25  # seconds between two looks
_HANDSHAKE = 5.0  # seconds, with a worker that has just registered
T = TypeVar("T")


async def wait_until_ready(deployment: Deployment, timeout: float, journal: Journal) -> None:
    """Returns when the deployment answers through every worker, each with an event. Raises WorkError after `timeout`
    seconds, naming the workers that are missing and where their logs are."""
    begin = time.monotonic()
    if deployment.health is None:
        await _wait_registered(deployment, begin, timeout, journal)
        await asyncio.to_thread(check_tls, deployment)
    elif deployment.health:
        await wait_healthy(deployment.groups, deployment.health, begin + timeout, journal)
    else:
        await wait_for_chat(deployment, begin + timeout)
        for group in deployment.groups:
            journal.event(group.name, "ready")
        journal.say(f"a chat was answered at {deployment.endpoint} ({time.monotonic() - begin:.1f} s)")
        return
    ready: set[str] = set()
    for endpoint in dict.fromkeys([*deployment.endpoints, deployment.endpoint]):
        left = timeout - (time.monotonic() - begin)
        text, names = await prove_at(endpoint, deployment, expected_workers(deployment), max(left, 1.0))
        # without Dynamo an answer does not name its workers: they are healthy, and answers come
        for name in names or [g.name for g in deployment.groups]:
            if name not in ready:
                journal.event(name, "ready")
                ready.add(name)
        at = f" at {endpoint}" if len(deployment.endpoints) > 1 else ""
        journal.say(f"{text}{at} ({time.monotonic() - begin:.1f} s)")


class Registry:
    """The job's registrations in etcd; raises pyetcd's and grpc's exceptions, and connects anew after one."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.error = ""
        """Why etcd gave no answer to `arrivals` just now, as the end of a message."""
        self._client: object | None = None
        self._lock = asyncio.Lock()

    async def found(self) -> list[Registration]:
        """Those of now."""
        return await self._ask(registrations)

    async def forget(self, address: str, known: Container[int]) -> bool:
        """As launcher.run.registry.forget."""
        return await self._ask(lambda client: forget(client, address, known))

    async def arrivals(
        self, groups: Iterable[GroupAddress], deadline: float
    ) -> AsyncIterator[tuple[GroupAddress, Registration]]:
        """Each group once it has registered; ends at `deadline` (monotonic seconds), though some may be missing."""
        waiting = {g.rpc: g for g in groups}
        while True:
            try:
                found, self.error = await self.found(), ""
            except Exception as e:  # etcd may be back a moment later
                found, self.error = [], f"; etcd: {type(e).__name__} {e}"
            for registration in found:
                if group := waiting.pop(registration.address, None):
                    yield group, registration
            if not waiting or time.monotonic() > deadline:
                return
            await asyncio.sleep(_EVERY)

    async def _ask(self, question: Callable[[Any], T]) -> T:
        def ask() -> T:
            self._client = self._client or etcd_client(self.deployment)
            try:
                return question(self._client)
            except Exception:
                self._client = None
                raise

        async with self._lock:
            return await asyncio.to_thread(ask)


async def _wait_registered(deployment: Deployment, begin: float, timeout: float, journal: Journal) -> None:
    registry, missing = Registry(deployment), {g.name: g for g in deployment.groups}
    async for group, registration in registry.arrivals(deployment.groups, begin + timeout):
        del missing[group.name]
        journal.event(group.name, "registered", f"{registration.instance_id:x}")
        journal.say(f"{group.name} on {group.host} registered ({time.monotonic() - begin:.1f} s)")
    if missing:
        shown = ", ".join(described(journal.folder, g) for g in missing.values())
        raise WorkError(f"not registered after {timeout:.0f} s: {shown}{registry.error}")


async def wait_healthy(groups: Sequence[GroupAddress], path: str, deadline: float, journal: Journal) -> None:
    """Asks all groups side by side until each is healthy. Raises WorkError at `deadline` (monotonic seconds)."""
    begin = time.monotonic()

    async def wait(group: GroupAddress, session: aiohttp.ClientSession) -> str:
        while error := await health_error(session, group.url + path, min(30.0, max(deadline - time.monotonic(), 1.0))):
            if time.monotonic() > deadline:
                return f"{described(journal.folder, group)}: {error}"
            await asyncio.sleep(_EVERY)
        journal.event(group.name, "registered", group.url)
        journal.say(f"{group.name} on {group.host} is healthy ({time.monotonic() - begin:.1f} s)")
        return ""

    from warmup.requests.session import open_session

    async with open_session() as session:
        errors = await asyncio.gather(*(wait(group, session) for group in groups))
    if missing := [e for e in errors if e]:
        raise WorkError(f"not healthy after {time.monotonic() - begin:.0f} s: {', '.join(missing)}")


async def health_error(session: aiohttp.ClientSession, url: str, timeout: float) -> str:
    """What is wrong there; empty when it answers 200. SGLang's /health takes as long as a token."""
    import aiohttp

    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(timeout)) as answer:
            return "" if answer.status == 200 else f"HTTP status {answer.status}"
    except asyncio.TimeoutError:
        return f"no answer within {timeout:.0f} s"
    except (aiohttp.ClientError, OSError) as e:
        return str(e)


async def wait_for_chat(deployment: Deployment, deadline: float) -> None:
    """Asks until a whole answer comes: the frontend of 2025 knows chats alone, and names no workers. Raises WorkError
    at `deadline` (monotonic seconds)."""
    from warmup.requests.session import open_session

    async with open_session(deployment.keys.endpoint, deployment.ca) as session:
        while error := await _chat_error(session, deployment.endpoint, deployment.model):
            if time.monotonic() > deadline:
                raise WorkError(f"{deployment.endpoint} answers no chat: {error}")
            await asyncio.sleep(0.5)


async def wait_for_answer(deployment: Deployment, limit: float) -> None:
    """Asks until the front answers, with whatever status. Raises WorkError after `limit` seconds."""
    from warmup.requests.session import open_session

    deadline = time.monotonic() + limit
    async with open_session(None, deployment.ca) as session:
        while (error := await health_error(session, deployment.endpoint, 2.0)) and not error.startswith("HTTP"):
            if time.monotonic() > deadline:
                raise WorkError(f"{deployment.endpoint} does not answer: {error}")
            await asyncio.sleep(_EVERY)


async def _chat_error(session: aiohttp.ClientSession, endpoint: str, model: str) -> str:
    import aiohttp

    message = {"role": "user", "content": "Say something."}
    body = {"model": model, "messages": [message], "max_tokens": 4, "stream": True}
    limit = aiohttp.ClientTimeout(600)  # the first one may wait for kernels that are compiled
    try:
        async with session.post(f"{endpoint}/v1/chat/completions", json=body, timeout=limit) as answer:
            text = (await answer.read()).decode(errors="replace")
            if answer.status != 200:
                return f"HTTP status {answer.status}: {text[:200]}"
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as e:
        return str(e) or type(e).__name__
    return "" if '"choices"' in text and "[DONE]" in text and "event: error" not in text else f"not whole: {text[:200]}"


def described(folder: Path, group: GroupAddress) -> str:
    return f"{group.name} on {group.host} (log {folder}/logs/{group.name}-0.log)"


def check_tls(deployment: Deployment) -> None:
    """Raises WorkError naming a worker whose request plane is open though security.request_plane is tls: a Dynamo
    before 1.5 ignores that."""
    if deployment.secrets is None or deployment.plan.settings.request_plane != "tls":
        return
    context = client_context(deployment.secrets)
    for group in deployment.groups:
        try:
            with (
                socket.create_connection((group.address, group.ports["rpc"]), timeout=_HANDSHAKE) as plain,
                context.wrap_socket(plain, server_hostname=SERVER_NAME),
            ):
                continue
        except TimeoutError:
            error = f"no handshake within {_HANDSHAKE:.0f} s"
        except OSError as e:
            error = str(e)
        raise WorkError(
            f"security.request_plane is tls, but {group.name} on {group.host} does not speak it ({error}): "
            "Dynamo 1.5 or newer is needed, or security.request_plane: open"
        )


async def prove_at(
    endpoint: str, deployment: Deployment, workers: Sequence[Worker], limit: float
) -> tuple[str, list[str]]:
    """A request answered through each of these workers: the proof in words, and who answered (nobody, where workers
    cannot be told apart). Raises WorkError after `limit` seconds."""
    from warmup.requests import prove_async

    proof = await prove_async(
        endpoint, deployment.model, expected_workers=workers, time_limit=limit, interval=_EVERY,
        api_key=deployment.key_at(endpoint), ca_file=deployment.ca,
    )  # fmt: skip
    if not proof.ready:
        raise WorkError(f"{endpoint}: {proof}")
    return str(proof), [w.name for w in proof.answered] if proof.told_apart else []
