"""What answers at an address: which models, which kind of server, which workers, which limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .coverage import Instance
from .errors import http_error, network_error
from .limits import Limits

if TYPE_CHECKING:
    import aiohttp

LOOK_TIMEOUT = 20.0
"""Seconds for one look; the answers are small and computed from memory."""


class NotServing(Exception):
    """Nothing there can take a request for this model. The message says what and where.

    ``may_come`` is True while waiting may help: a frontend that is not up, or lists no model yet.
    """

    def __init__(self, message: str, *, may_come: bool = True) -> None:
        super().__init__(message)
        self.may_come = may_come


@dataclass(frozen=True)
class Target:
    """A deployment that lists the model. ``kind`` is dynamo, sglang or openai."""

    base_url: str
    kind: str
    model: str
    instances: tuple[Instance, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def names_workers(self) -> bool:
        return self.kind == "dynamo"


async def look(session: aiohttp.ClientSession, base_url: str, model: str | None) -> Target:
    """Ask what is there. Raises NotServing."""
    status, listing = await _get(session, base_url, "/v1/models")
    if status != 200:
        raise NotServing(http_error(status, listing, f"{base_url}/v1/models"))
    parsed = _json(listing)
    entries = parsed.get("data") if isinstance(parsed, dict) else None
    if not isinstance(entries, list):
        raise NotServing(
            f"{base_url}/v1/models is no list of models: is this an OpenAI-style server?",
            may_come=False,
        )
    models = [m for m in entries if isinstance(m, dict) and isinstance(m.get("id"), str)]
    entry = _choose(models, model, base_url)
    instances = None
    if entry.get("owned_by") == "sglang":
        # SGLang's own /health generates a token, which could wait for a compilation.
        kind = "sglang"
    else:
        instances = await list_instances(session, base_url)
        kind = "openai" if instances is None else "dynamo"
    limits = await _limits(session, base_url, entry, kind)
    return Target(base_url, kind, entry["id"], instances or (), limits)


async def list_instances(session: aiohttp.ClientSession, base_url: str) -> tuple[Instance, ...] | None:
    """The workers that a Dynamo frontend's /health lists; None for any other server."""
    try:
        status, body = await _get(session, base_url, "/health")
    except NotServing:
        return None
    health = _json(body) if status == 200 else None
    if not isinstance(health, dict) or not isinstance(health.get("instances", 0), list):
        return None
    return read_instances(health["instances"])


def read_instances(entries: list[Any]) -> tuple[Instance, ...]:
    """Pick the workers out of a frontend's list, which holds every endpoint of every process.

    A worker serves ``generate``; a KV router registers under the same components with endpoints
    of its own.
    """
    found = []
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("endpoint") != "generate":
            continue
        number = entry.get("instance_id")
        if not isinstance(number, int):
            continue
        transport = entry.get("transport")
        tcp = transport.get("tcp") if isinstance(transport, dict) else None
        address = tcp.split("/", 1)[0] if isinstance(tcp, str) else None
        found.append(Instance(number, str(entry.get("component")), address))
    return tuple(found)


def read_metrics(text: str, model: str) -> Limits:
    """Limits of one decode (or aggregated) worker, as Dynamo's frontend exports them; 0 says that
    a worker did not tell."""
    found = re.findall(r'^dynamo_frontend_model_(\w+)\{model="(.*)"\} (\d+)$', text, re.M)
    said = {name: int(value) or None for name, of, value in found if of == model}
    page, pages = said.get("kv_cache_block_size"), said.get("total_kv_blocks")
    return Limits(
        max_running_requests=said.get("max_num_seqs"),
        context_length=said.get("context_length"),
        max_total_tokens=page and pages and page * pages,
        page_size=page,
    )


def _choose(models: list[dict[str, Any]], model: str | None, base_url: str) -> dict[str, Any]:
    names = [m["id"] for m in models]
    if not models:
        raise NotServing(
            f"{base_url} lists no model yet: its workers have not registered (with prefill and decode apart, both must)"
        )
    if model is not None:
        for entry in models:
            if entry["id"] == model:
                return entry
        raise NotServing(f"{base_url} serves {', '.join(names)}, not {model}")
    if len(models) > 1:
        raise NotServing(
            f"{base_url} serves {len(models)} models ({', '.join(names)}): name one",
            may_come=False,
        )
    return models[0]


async def _limits(session: aiohttp.ClientSession, base_url: str, entry: dict[str, Any], kind: str) -> Limits:
    """What the server says about itself. A plain SGLang server tells all of its flags, a Dynamo
    frontend some of its workers' in its metrics."""
    known = Limits()
    if kind == "dynamo":
        with contextlib.suppress(NotServing):
            status, body = await _get(session, base_url, "/metrics")
            known = read_metrics(body.decode(errors="replace"), entry["id"]) if status == 200 else known
    else:
        for path in ("/server_info", "/get_server_info"):
            try:
                status, body = await _get(session, base_url, path)
            except NotServing:
                break
            info = _json(body) if status == 200 else None
            if isinstance(info, dict) and "chunked_prefill_size" in info:
                known = Limits.from_args(info)
                # The flags come as SGLang resolved them: already divided over the ranks.
                chunk = known.chunked_prefill_size
                if chunk is not None:
                    known = replace(known, chunked_prefill_size=chunk * known.prefill_ranks)
                break
    context = entry.get("context_window") or entry.get("max_model_len")
    if isinstance(context, int) and context > 0:
        known = known.filled(Limits(context_length=context))
    return known


async def _get(session: aiohttp.ClientSession, base_url: str, path: str) -> tuple[int, bytes]:
    import aiohttp

    try:
        timeout = aiohttp.ClientTimeout(total=LOOK_TIMEOUT, sock_connect=10)
        async with session.get(base_url + path, timeout=timeout) as response:
            return response.status, await response.read()
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        raise NotServing(network_error(error, base_url, LOOK_TIMEOUT)) from None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
