"""Points, one after another: aiperf's records, what was seen meanwhile, figures and a verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from launcher.base.errors import InputError, WorkError
from launcher.front.keys import key_of_environment
from launcher.measure import aiperf
from launcher.measure.point import Point
from launcher.measure.record import Figures, Record, Slo, figures, read_records
from launcher.measure.validity import Seen, problems
from launcher.measure.watch import mean, watching
from launcher.run.deployment import read_deployment
from launcher.run.folder import RunFolder
from launcher.run.target import run_or_address
from launcher.run.targets import Target, targets_of

CHECK_REQUESTS = 256


@dataclass(frozen=True)
class Result:
    """One point measured. `problems` is empty for a valid one."""

    point: Point
    figures: Figures
    seen: Seen
    problems: tuple[str, ...]

    @property
    def valid(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class Bench:
    """What is measured and how. `gpus` is the number that the deployment has; `limit` is in seconds, of each point."""

    server: aiperf.Server
    targets: tuple[Target, ...] = ()
    run: RunFolder | None = None
    gpus: int | None = None
    slo: Slo | None = None
    limit: float = 1800.0


def of(
    target: str | None,
    runs: Path,
    *,
    model: str | None = None,
    tokenizer: str | None = None,
    gpus: int | None = None,
    slo: Slo | None = None,
    limit: float = 1800.0,
) -> Bench:
    """What JOB|ADDRESS names. Raises InputError, WorkError."""
    run = run_or_address(target, runs)
    if run is None:
        from warmup.requests import AddressError, parse_address

        try:
            url = parse_address(target or "")
        except AddressError as e:
            raise InputError(str(e)) from None
        key = key_of_environment(url)
        named = model or asyncio.run(_served(url, key))
        return Bench(aiperf.Server(url, named, tokenizer or "builtin", key), gpus=gpus, slo=slo, limit=limit)
    deployment = read_deployment(run)
    folder = tokenizer or str((run.json("plan.json") or {})["model"]["path"])
    if not (Path(folder) / "tokenizer.json").exists():
        folder = tokenizer or "builtin"
    server = aiperf.Server(
        deployment.endpoint, model or deployment.model, folder, deployment.keys.endpoint, deployment.ca
    )
    return Bench(server, tuple(targets_of(deployment)), run, gpus or deployment.plan.gpus or None, slo, limit)


async def _served(url: str, key: str | None) -> str:
    from warmup.requests.session import open_session
    from warmup.requests.target import NotServing, look

    async with open_session(key) as session:
        try:
            return (await look(session, url, None)).model
        except NotServing as e:
            raise WorkError(str(e)) from None


async def measure(bench: Bench, points: Sequence[Point], folder: Path, tell: Callable[[Result], None]) -> list[Result]:
    """Run the points in order; what aiperf wrote is below `folder`. Raises WorkError without aiperf."""
    aiperf.find()
    found = []
    for point in points:
        result = await _one(bench, point, folder / point.key)
        found.append(result)
        tell(result)
        if result.seen.ended:
            break
    return found


async def _one(bench: Bench, point: Point, folder: Path) -> Result:
    targets = list(bench.targets)
    async with watching(targets, bench.run) as watch:
        status = await aiperf.run(bench.server, point, folder, bench.limit)
    records = read_records(folder / "profile_export.jsonl")
    seen = Seen(
        served=watch.served(targets),
        restarted=watch.restarted,
        ended=watch.ended,
        lag=watch.lag,
        busy=watch.busy,
        lighter=await lighter(bench, point) if _whole(records) else None,
        exit_status=status,
        queued=mean(watch.queued),
        running=mean(watch.running),
        kv_use=max(watch.kv_use, default=None),
    )
    return Result(point, figures(records, bench.gpus, bench.slo), seen, tuple(problems(point, records, seen)))


def _whole(records: Sequence[Record]) -> bool:
    return bool(records) and all(r.error is None for r in records)


async def lighter(bench: Bench, point: Point) -> float | None:
    """The median TTFT that the request sweep's client reads at the point's load; None where the load is no number of
    requests in flight."""
    from warmup.requests.client import Client
    from warmup.requests.clock import run as run_loop
    from warmup.requests.round import run_round
    from warmup.requests.wire import Wire

    count = point.concurrency
    if count is None or point.spread:
        return None

    async def read() -> float | None:
        async with Wire(bench.server.url, bench.limit, bench.server.key, bench.server.ca) as wire:
            client = Client(wire, bench.server.url, bench.server.model)
            await client.send(16, 1)
            many = max(2 * count, min(point.requests, CHECK_REQUESTS))
            requests = [client.prepare(point.prompt_tokens, point.output_tokens, index=i) for i in range(many)]
            answers, _ = await run_round(client, requests, count, time.monotonic() + bench.limit)
            first = [a.ttft for a in answers if a.ok and a.ttft is not None and a.index >= count]
            return median(first) if first else None

    return await asyncio.to_thread(run_loop, read())
