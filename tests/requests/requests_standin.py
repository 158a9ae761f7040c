"""A stand-in for a deployment, for the faults a real one does not show on demand.

It speaks a Dynamo frontend's (or a plain SGLang server's) HTTP, and is told to be cold, to refuse,
to hang, to cut a stream, or to leave a worker out. What the real parts answer is tested in
test_requests_real.py.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PREFILL = (11, 12)
DECODE = (2**63 + 21, 2**63 + 22)


@dataclass
class StandIn:
    """What the stand-in does. Delays in seconds."""

    dynamo: bool = True
    models: tuple[str, ...] = ("stand-in",)
    prefill: tuple[int, ...] = PREFILL
    decode: tuple[int, ...] = DECODE
    step: float = 0.001
    cold: float = 0.0
    """Extra wait of the first request at each (prefill worker, prompt length)."""
    cold_after: int = 0
    """Only from that many requests on."""
    cold_below: int = 0
    """Shorter prompts count as one length."""
    growing: float = 0.0
    """Extra wait of every request, times the number of requests before it."""
    never: tuple[int, ...] = ()
    """Workers that are registered and never chosen."""
    honours_steering: bool = True
    silent_for: int = 0
    """Answer 503 to that many listings first."""
    fault: str = ""
    """"" | status | hang | cut | inner | short | empty: what happens to every ``fault_every``-th request."""
    fault_every: int = 1
    body: bytes = b'{"message":"Failed to generate completions","type":"Internal Server Error","code":500}'
    requests: list[dict[str, Any]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    seen: Counter[tuple[int, int]] = field(default_factory=Counter)
    url: str = ""
    port: int = 0

    async def models_page(self, _request: web.Request) -> web.Response:
        if self.silent_for > 0:
            self.silent_for -= 1
            return web.json_response({"message": "starting"}, status=503)
        owner = "nvidia" if self.dynamo else "sglang"
        return web.json_response({"object": "list", "data": [{"id": m, "owned_by": owner} for m in self.models]})

    async def health(self, _request: web.Request) -> web.Response:
        if not self.dynamo:
            return web.Response()
        entries = [self._instance("prefill", n) for n in self.prefill]
        entries += [self._instance("backend", n) for n in self.decode]
        router = self._instance("backend", 99)
        router["endpoint"] = "router-discovery"
        return web.json_response({"status": "healthy", "instances": [*entries, router]})

    def _instance(self, component: str, number: int) -> dict[str, Any]:
        return {
            "component": component,
            "endpoint": "generate",
            "namespace": "dynamo",
            "instance_id": number,
            "transport": {"tcp": f"10.0.0.1:{number % 1000}/{number:x}/generate"},
        }

    async def completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        number = len(self.requests)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(request, body, number)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        fault = self.fault if number % self.fault_every == 0 else ""
        if fault == "status":
            return web.Response(status=500, body=self.body)
        prefill, decode = self._choose(body, number)
        length = len(body["prompt"].split())
        if length < self.cold_below:
            length = 0
        self.seen[prefill, length] += 1
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        if fault == "hang":
            await asyncio.sleep(3600)
        if self.seen[prefill, length] == 1 and number > self.cold_after:
            await asyncio.sleep(self.cold)
        await asyncio.sleep(self.growing * number)
        wanted = {"short": 1, "empty": 0}.get(fault, body["max_tokens"])
        sent = 0
        for token in range(wanted):
            if token == 1 and fault == "cut":
                assert request.transport is not None
                request.transport.close()
                return response
            if token == 1 and fault == "inner":
                await self._event(response, {"error": {"message": "Internal server error", "code": 500}})
                break
            await asyncio.sleep(self.step)
            event: dict[str, Any] = {"object": "text_completion", "choices": [{"index": 0, "text": "x"}], "usage": None}
            if self.dynamo:
                event["nvext"] = {"worker_id": {"prefill_worker_id": prefill, "decode_worker_id": decode}}
            await self._event(response, event)
            sent += 1
        usage = {"prompt_tokens": length, "completion_tokens": sent}
        await self._event(response, {"object": "text_completion", "choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    def _choose(self, body: dict[str, Any], number: int) -> tuple[int, int]:
        wishes = body.get("nvext", {}) if self.honours_steering else {}
        prefill = [n for n in self.prefill if n not in self.never]
        decode = [n for n in self.decode if n not in self.never]
        chosen = prefill[number % len(prefill)], decode[number % len(decode)]
        return (
            wishes.get("prefill_worker_id", chosen[0]),
            wishes.get("decode_worker_id", chosen[1]),
        )

    async def _event(self, response: web.StreamResponse, event: dict[str, Any]) -> None:
        await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")


@asynccontextmanager
async def serving(stand_in: StandIn) -> AsyncIterator[StandIn]:
    """The stand-in on a free port of the loopback; its ``url`` and ``port`` are filled in."""
    app = web.Application()
    app.router.add_get("/v1/models", stand_in.models_page)
    app.router.add_get("/health", stand_in.health)
    app.router.add_post("/v1/completions", stand_in.completions)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stand_in.port = runner.addresses[0][1]
    stand_in.url = f"http://127.0.0.1:{stand_in.port}"
    try:
        yield stand_in
    finally:
        await runner.cleanup()
