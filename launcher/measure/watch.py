"""What goes on beside a point's requests: metrics, restarts, and how busy the client's machine is."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from launcher.measure.metrics import Metrics, scrape
from launcher.run.folder import STAGES, Event, RunFolder
from launcher.run.targets import Target

EVERY = 1.0  # seconds between two looks at the metrics
TICK = 0.05  # of the timer whose delay is the machine's

QUEUED = ("sglang:num_queue_reqs", "dynamo_frontend_queued_requests")
RUNNING = ("sglang:num_running_reqs", "dynamo_component_inflight_requests")
KV_USE = "sglang:token_usage"
SERVED = ("sglang:num_requests_total", "dynamo_component_requests_total")


def served(metrics: Metrics) -> float | None:
    """Requests that a worker has taken since it started."""
    found = metrics.total("dynamo_component_requests_total", dynamo_endpoint="generate")
    return metrics.first_total(*SERVED) if found is None else found


def running(metrics: Metrics) -> float | None:
    found = metrics.total("dynamo_component_inflight_requests", dynamo_endpoint="generate")
    return metrics.first_total(*RUNNING) if found is None else found


@dataclass
class Watch:
    """Filled while a point runs; read after it."""

    before: Mapping[str, Metrics | None] = field(default_factory=dict)
    after: Mapping[str, Metrics | None] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)
    queued: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    kv_use: list[float] = field(default_factory=list)
    busy: float | None = None
    restarted: list[str] = field(default_factory=list)
    ended: str | None = None

    @property
    def lag(self) -> float:
        """90th percentile, in seconds."""
        return sorted(self.lags)[math.ceil(0.9 * len(self.lags)) - 1] if self.lags else 0.0

    def served(self, targets: list[Target]) -> dict[str, int]:
        """Requests of each worker between the two looks, of those that tell."""
        found = {}
        for name in (t.name for t in targets if t.role not in ("frontend", "launcher")):
            counts = [served(m) if (m := look.get(name)) else None for look in (self.before, self.after)]
            if counts[0] is not None and counts[1] is not None:
                found[name] = round(counts[1] - counts[0])
        return found


@asynccontextmanager
async def watching(targets: list[Target], run: RunFolder | None) -> AsyncIterator[Watch]:
    """Watch for as long as the block runs."""
    watch = Watch()
    began, cpu = time.time(), _processors()
    watch.before = await scrape(targets)
    tasks = [asyncio.ensure_future(_tick(watch)), asyncio.ensure_future(_look(watch, targets))]
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        watch.after = await scrape(targets)
        if cpu and (now := _processors()) and now[1] > cpu[1]:
            watch.busy = (now[0] - cpu[0]) / (now[1] - cpu[1])
        if run is not None:
            events = [e for e in run.events() if e.time >= began]
            watch.restarted = sorted({e.stage for e in events if e.state in ("restarting", "lost")})
            watch.ended = ended(events)


def ended(events: Sequence[Event]) -> str | None:
    """Why a job with these events ended meanwhile: it failed, was cancelled or asked to leave; None: it did not."""
    why = [e.detail or e.state for e in events if e.stage in STAGES and e.state in ("failed", "cancelled", "drained")]
    stopped = ["it stopped"] if any(e.stage == "stop" for e in events) else []
    return next(iter(why + stopped), None)


async def _tick(watch: Watch) -> None:
    while True:
        began = time.monotonic()
        await asyncio.sleep(TICK)
        watch.lags.append(time.monotonic() - began - TICK)


async def _look(watch: Watch, targets: list[Target]) -> None:
    while True:
        found = [m for m in (await scrape(targets)).values() if m is not None]
        for values, kept in ((_each(found, QUEUED), watch.queued), ([running(m) for m in found], watch.running)):
            known = [v for v in values if v is not None]
            if known:
                kept.append(sum(known))
        use = [v for m in found if (v := m.largest(KV_USE)) is not None]
        if use:
            watch.kv_use.append(max(use))
        await asyncio.sleep(EVERY)


def _each(found: list[Metrics], names: tuple[str, ...]) -> list[float | None]:
    return [m.first_total(*names) for m in found]


def _processors() -> tuple[float, float] | None:
    """Busy and whole time of this machine's processors since it started, in ticks; None where nothing tells."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        values = list(map(int, Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]))
        return sum(values) - values[3] - values[4], sum(values)
    return None


def mean(values: list[float]) -> float | None:
    return fmean(values) if values else None
