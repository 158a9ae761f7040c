"""`sgl-launch chat [JOB|ADDRESS]`: one streamed chat answer, and who served it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import click

from launcher.base.errors import WorkError
from launcher.base.terminal import visible
from launcher.commands.options import as_input_error, complete_job, runs_option
from launcher.front.keys import key_of_environment
from launcher.run.folder import RunFolder
from launcher.run.state import enter_network


@click.command("chat")
@click.argument("target", metavar="[JOB|ADDRESS]", required=False, shell_complete=complete_job)
@click.option("-m", "--message", default="Who are you?", show_default=True)
@click.option("--max-tokens", type=int, default=32, show_default=True)
@click.option("--model", help="Served name; needed with an address that serves several.")
@runs_option
def command(target: str | None, message: str, max_tokens: int, model: str | None, runs: Path) -> None:
    """Ask a deployment one question and stream the answer."""
    from launcher.run.target import run_or_address
    from warmup.requests import AddressError, parse_address

    names: dict[int, str] = {}
    run = run_or_address(target, runs)
    if run is not None:
        endpoint = run.endpoint()
        if endpoint is None:
            raise WorkError(f"{run.path.name} is not ready; see `sgl-launch status {run.job_id}`")
        if endpoint.socket:
            enter_network(run)
        address, model, key, ca = endpoint.url, model or endpoint.model, run.keys().endpoint, endpoint.ca
        names = _names(run)
    else:
        with as_input_error(AddressError):
            address = parse_address(target or "")
        key, ca = key_of_environment(address), None
    asyncio.run(_chat(address, key, ca, model, message, max_tokens, names))


def _names(run: RunFolder) -> dict[int, str]:
    """Worker groups by the id of their registration."""
    found = {}
    for event in run.events():
        with contextlib.suppress(ValueError):  # SGLang's own workers have none
            found[int(event.detail, 16)] = event.stage if event.state == "registered" else ""
    return {instance: group for instance, group in found.items() if group}


async def _chat(
    address: str, key: str | None, ca: str | None, model: str | None, message: str, max_tokens: int,
    names: dict[int, str],
) -> None:  # fmt: skip
    import aiohttp

    from warmup.requests.session import open_session

    begin = time.monotonic()
    first: float | None = None
    workers: dict[str, Any] = {}
    try:
        async with open_session(key, ca) as session:
            if model is None:
                async with session.get(f"{address}/v1/models") as answer:
                    if answer.status != 200:
                        raise WorkError(f"{address}: HTTP {answer.status}: {visible(await answer.text())}")
                    listed = (await answer.json()).get("data") or []
                if not listed:
                    raise WorkError(f"{address} serves no model yet")
                model = str(listed[0]["id"])
            body = {
                "model": model,
                "messages": [{"role": "user", "content": message}],
                "max_tokens": max_tokens,
                "stream": True,
                # Dynamo names the workers that served the request; others ignore it
                "nvext": {"extra_fields": ["worker_id"]},
            }
            async with session.post(f"{address}/v1/chat/completions", json=body) as answer:
                if answer.status != 200:
                    raise WorkError(f"{address}: HTTP {answer.status}: {visible(await answer.text())}")
                async for raw in answer.content:
                    text, found = _chunk(raw)
                    if text and first is None:
                        first = time.monotonic() - begin
                    workers = found or workers
                    click.echo(visible(text), nl=False)
    except (aiohttp.ClientError, asyncio.TimeoutError) as e:
        raise WorkError(f"no answer from {address}: {e or 'it takes too long'}") from None
    click.echo()
    by = " and ".join(names.get(w, f"{w:x}") for w in dict.fromkeys(workers.values()))
    total = time.monotonic() - begin
    ttft = f"first token after {first:.2f} s, " if first is not None else ""
    click.echo(f"[{ttft}all after {total:.2f} s{', by ' + by if by else ''}]", err=True)


def _chunk(raw: bytes) -> tuple[str, dict[str, Any]]:
    """Text and worker ids of one line of the stream. Raises WorkError for one that says what failed."""
    from warmup.requests.errors import error_text

    line = raw.decode(errors="replace").strip()
    if not line.startswith("data:") or line == "data: [DONE]":
        return "", {}
    try:
        chunk = json.loads(line[5:])
        delta = chunk["choices"][0].get("delta", {}) if chunk.get("choices") else {}
    except (ValueError, KeyError, AttributeError):
        return "", {}
    if chunk.get("error"):
        raise WorkError(visible(f"the answer broke off: {error_text(chunk)}"))
    workers = (chunk.get("nvext") or {}).get("worker_id") or {}
    return delta.get("content") or "", {k: v for k, v in workers.items() if k.endswith("_worker_id")}
