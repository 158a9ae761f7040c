"""The launcher's own figures as Prometheus text, kept in RUN/metrics.prom: the deployment's front hands it out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from launcher.base.errors import WorkError
from launcher.plan.model import Group
from launcher.run.folder import STAGES, Event, RunFolder
from launcher.run.history import History
from launcher.run.slurm import end_of

FILE = "metrics.prom"
EVERY = 1.0  # seconds between two looks at the record
SLURM_LIMIT = 20.0  # for Slurm to say when the job ends
STATES = ("waiting", "starting", "registered", "ready", "warm", "restarting", "lost")

_HELP = {
    "stage_started_timestamp_seconds": "When a stage of the job began, in seconds since the epoch.",
    "stage_seconds": "How long a stage took that is over.",
    "group_state": "1 for the state that a worker group, a service or a frontend is in.",
    "group_restarts_total": "How often it was started again.",
    "group_registrations_lost_total": "How often its registration (lease) in etcd was lost.",
    "kernels_compiled": "DeepGEMM kernels that the job's stage compiled.",
    "warm": "The warm-up's verdict: 1 warm, 0 not (yet).",
    "serving": "1 while the deployment serves.",
    "walltime_end_timestamp_seconds": "When the job's time limit ends it; less time(): the seconds that are left.",
    "gpu_utilization_ratio": "Share of the time in which kernels ran on a group's GPU, as NVML has it.",
    "gpu_memory_used_bytes": "Memory of the GPU in use.",
    "gpu_memory_total_bytes": "Memory that the GPU has.",
    "gpu_power_watts": "Power that the GPU draws.",
    "gpu_temperature_celsius": "The GPU's temperature.",
}
_COUNTERS = {"group_restarts_total", "group_registrations_lost_total"}


_GPU = (
    ("gpu_utilization_ratio", 0.01), ("gpu_memory_used_bytes", 2**20), ("gpu_memory_total_bytes", 2**20),
    ("gpu_power_watts", 1), ("gpu_temperature_celsius", 1),
)  # fmt: skip

Gpus = Mapping[str, Sequence[str]]
"""By "HOST INDEX": UUID, use in %, MiB used, MiB in all, W, °C, as nvidia-smi prints them."""
NO_GPUS: Gpus = MappingProxyType({})
NO_GROUPS: Mapping[str, str] = MappingProxyType({})


def text(
    events: Sequence[Event], end: float | None, gpus: Gpus = NO_GPUS, groups: Mapping[str, str] = NO_GROUPS
) -> str:
    """The figures of a job whose record is `events`, and of the GPUs that have a group, by "HOST INDEX" or "HOST UUID".
    Pure."""
    samples = [*_samples(History.of(events), end), *_of_gpus(gpus, groups)]
    lines = []
    for name, said in _HELP.items():
        own = [f"sgl_launch_{name}{labels} {value:.15g}" for n, labels, value in samples if n == name]
        if own:
            kind = "counter" if name in _COUNTERS else "gauge"
            lines += [f"# HELP sgl_launch_{name} {said}", f"# TYPE sgl_launch_{name} {kind}", *own]
    return "\n".join(lines) + "\n"


def _samples(history: History, end: float | None) -> Iterator[tuple[str, str, float]]:
    """(name, labels, value)."""
    began: dict[str, float] = {}
    for event in history.events:
        if event.stage in STAGES and event.state == "started" and event.stage not in began:
            began[event.stage] = event.time
            yield "stage_started_timestamp_seconds", _labels(stage=event.stage), event.time
    # A stage is over when it says so, else (warm) when the next one begins.
    over = {e.stage: e.time for e in reversed(history.events) if e.state in ("done", "not warm")}
    begins = sorted(began.items(), key=lambda pair: pair[1])
    for number, (stage, since) in enumerate(begins):
        until = over.get(stage, begins[number + 1][1] if number + 1 < len(begins) else None)
        if until is not None:
            yield "stage_seconds", _labels(stage=stage), until - since
    lost: dict[str, int] = {}
    for event in history.events:
        if event.state in ("lost", "deregistered"):
            lost[event.stage] = lost.get(event.stage, 0) + 1
    for name, process in history.processes.items():
        for state in STATES:
            yield "group_state", _labels(group=name, state=state), float(process.state == state)
        yield "group_restarts_total", _labels(group=name), process.restarts
        yield "group_registrations_lost_total", _labels(group=name), lost.get(name, 0)
    if "kernels" in began:
        said = " ".join(e.detail for e in history.events if e.stage == "kernels")
        yield "kernels_compiled", "", float(sum(map(int, re.findall(r"\((\d+) compiled\)", said))))
    yield "warm", "", float(history.warm == "done")
    yield "serving", "", float(history.stage == "serve")
    if end:
        yield "walltime_end_timestamp_seconds", "", end


def _of_gpus(gpus: Gpus, groups: Mapping[str, str]) -> Iterator[tuple[str, str, float]]:
    for at, (uuid, *values) in gpus.items():
        host, _, index = at.partition(" ")
        if group := groups.get(at) or groups.get(f"{host} {uuid}"):
            labels = _labels(group=group, node=host, gpu=index)
            for (name, unit), value in zip(_GPU, values, strict=False):
                with contextlib.suppress(ValueError):  # [N/A]
                    yield name, labels, float(value) * unit


def _labels(**labels: str) -> str:
    said = ",".join(f'{k}="{re.sub(r"[^A-Za-z0-9._ -]", "_", v)}"' for k, v in labels.items())
    return f"{{{said}}}"


def walltime_end(env: Mapping[str, str]) -> float | None:
    """When Slurm ends the job of this environment, in seconds since the epoch (newer versions say it in `env`); None
    outside of Slurm, without a limit, and where Slurm does not tell."""
    said = env.get("SLURM_JOB_END_TIME", "")
    if said.isdecimal():
        return float(said)
    with contextlib.suppress(WorkError):
        return end_of(env["SLURM_JOB_ID"], SLURM_LIMIT) if env.get("SLURM_JOB_ID") else None
    return None


Places = Callable[[Sequence[int], Sequence[Sequence[int]]], Sequence[Any]]
"""The place (host, gpus: a CUDA_VISIBLE_DEVICES) of each rank, of its node and its GPUs among the job's there."""


def owners(groups: Sequence[Group], places: Places) -> dict[str, str]:
    """The group by "HOST INDEX" or "HOST UUID" of its GPUs."""
    found = [(g.name, p) for g in groups for p in places(g.nodes, [r.gpus for r in g.ranks])]
    return {f"{place.host} {gpu}": name for name, place in found for gpu in place.gpus.split(",")}


async def keep(
    run: RunFolder, events: Sequence[Event], gpus: Gpus, groups: Sequence[Group], places: Places
) -> None:
    """Write the file whenever the record has grown or GPUs say something else, until this is cancelled."""
    seen: object = None
    end = await asyncio.to_thread(walltime_end, os.environ)
    while True:
        if (now := (len(events), dict(gpus))) != seen:
            seen = now
            own = owners(groups, places) if gpus else {}
            await asyncio.to_thread(_write, run, text(tuple(events), end, dict(gpus), own))
        await asyncio.sleep(EVERY)


def _write(run: RunFolder, content: str) -> None:
    new = run.path / f".{FILE}.{os.getpid()}"
    with contextlib.suppress(OSError):  # storage that is full or read-only costs figures, never the job
        new.write_text(content, encoding="utf-8")
        new.replace(run.path / FILE)
