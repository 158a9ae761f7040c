"""What a deployment does now: a line a group, from the servers' own metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from launcher.measure.metrics import Metrics, scrape
from launcher.measure.watch import KV_USE, QUEUED, running
from launcher.run.deployment import read_deployment
from launcher.run.folder import RunFolder
from launcher.run.history import History
from launcher.run.targets import Target, targets_of

if TYPE_CHECKING:
    from rich.console import RenderableType

TOKENS = ("sglang:generation_tokens_total", "dynamo_frontend_output_tokens_total")


@dataclass(frozen=True)
class Line:
    """One group or frontend. `tokens_rate` in tokens a second since the look before; `kv_use`, `gpu_use` (the mean of
    its GPUs) and `gpu_memory` are shares. None: nobody tells."""

    name: str
    role: str
    state: str
    restarts: int
    running: float | None = None
    queued: float | None = None
    tokens_rate: float | None = None
    kv_use: float | None = None
    gpu_use: float | None = None
    gpu_memory: float | None = None


@dataclass(frozen=True)
class Look:
    """All servers at one moment (`at`: seconds, monotonic)."""

    at: float
    metrics: Mapping[str, Metrics | None]
    lines: tuple[Line, ...] = ()


async def look(run: RunFolder, before: Look | None = None) -> Look:
    """Ask all servers. Raises WorkError while the job has not found its nodes."""
    targets = targets_of(read_deployment(run))
    metrics = await scrape(targets)
    at, history = time.monotonic(), History.read(run)
    gpus = metrics.get("launcher") or Metrics()
    lines = (_line(t, metrics[t.name], at, before, history) for t in targets if t.role != "launcher")
    return Look(at, metrics, tuple(_with_gpus(line, gpus) for line in lines))


def _with_gpus(line: Line, launcher: Metrics) -> Line:
    """With what the launcher's own metrics say of the group's GPUs."""
    use = launcher.mean("sgl_launch_gpu_utilization_ratio", group=line.name)
    used, of = (launcher.total(f"sgl_launch_gpu_memory_{what}_bytes", group=line.name) for what in ("used", "total"))
    return replace(line, gpu_use=use, gpu_memory=used / of if used is not None and of else None)


def _line(target: Target, now: Metrics | None, at: float, before: Look | None, history: History) -> Line:
    process = history.process(target.name)
    # A frontend has no state between "starting" and "ready" again; it serves when it answers.
    state = "serves" if target.role == "frontend" and now is not None else process.state
    if now is None:
        silent = state in ("ready", "warm", "serves")
        return Line(target.name, target.role, "no metrics" if silent else state, process.restarts)
    then = before.metrics.get(target.name) if before else None
    tokens = [m.first_total(*TOKENS) if m else None for m in (then, now)]
    rate = None
    if before and tokens[0] is not None and tokens[1] is not None and at > before.at:
        # A server that was started again counts from nothing.
        rate = max(0.0, tokens[1] - tokens[0]) / (at - before.at)
    active = now.total("dynamo_frontend_active_requests")
    return Line(
        target.name,
        target.role,
        state,
        process.restarts,
        running=active if target.role == "frontend" and active is not None else running(now),
        queued=now.first_total(*QUEUED),
        tokens_rate=rate,
        kv_use=now.largest(KV_USE),
    )


def to_dict(run: RunFolder, look: Look) -> dict[str, Any]:
    return {"job": run.job_id, "name": run.name, "groups": [asdict(line) for line in look.lines]}


def table(run: RunFolder, lines: Sequence[Line]) -> RenderableType:
    """80 columns at most."""
    from rich import box
    from rich.table import Table

    found = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), title=f"{run.name}  job {run.job_id}", title_justify="left")
    for name in ("group", "state"):
        found.add_column(name, no_wrap=True)
    for name in ("running", "waiting", "tok/s", "KV", "GPU", "memory", "restarts"):
        found.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        counts = map(_count, (line.running, line.queued, line.tokens_rate))
        shares = ("-" if v is None else f"{v:.0%}" for v in (line.kv_use, line.gpu_use, line.gpu_memory))
        found.add_row(line.name, line.state, *counts, *shares, f"{line.restarts}")
    return found


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
