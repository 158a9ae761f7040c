"""What the report page shows, as plain data from a run folder."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import __version__
from launcher.report.causes import Explained
from launcher.run.folder import STAGES, Event, RunFolder
from launcher.run.history import History
from launcher.run.logtext import plain
from launcher.run.planned import Planned


@dataclass(frozen=True)
class Span:
    """A bar of the timeline, in seconds after the job's begin."""

    begin: float
    end: float
    state: str


@dataclass(frozen=True)
class Row:
    """A row of the timeline: a stage's or a group's spans, and points of note on it."""

    name: str
    kind: str
    spans: tuple[Span, ...]
    marks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Facts:
    """Everything on the page. Times in seconds after `began` (seconds since the epoch)."""

    run: RunFolder
    plan: Planned
    state: str
    began: float
    end: float
    started: float
    stages: tuple[Row, ...]
    groups: tuple[Row, ...]
    milestones: dict[str, float]
    hosts: dict[int, str]
    warmup: dict[str, Any] | None
    config: str
    versions: dict[str, str]
    endpoint: str | None
    failure: str | None
    causes: tuple[Explained, ...] = ()
    restarts: int = 0
    kernels: tuple[str, ...] = ()  # what was brought and built, and compiled all the same
    # the latest sweep that was run by hand: its file, and what is in it
    latest: tuple[str, dict[str, Any]] | None = None


def collect(run: RunFolder) -> Facts:
    """Read a run. Raises WorkError when the job has not written its plan yet."""
    from launcher.report.why import causes_of
    from launcher.run.state import job_state

    plan, state = run.plan(), job_state(run)
    history = History.read(run, state)
    events = history.events
    began = history.began or time.time()
    last = history.last or began
    end = last if state.ended or history.end else max(time.time(), last)
    failed = history.failure is not None and not history.cancelled
    stages, groups = timeline(events, [g.name for g in plan.groups], began, end)
    marks = milestones(events, began)
    latest = next(((f, found) for f in reversed(run.later_sweeps()) if (found := run.json(f))), None)
    return Facts(
        run=run,
        plan=plan,
        state=str(state if state.ended else history.end or state.state),
        began=began,
        end=end - began,
        started=_start_over(stages, end - began),
        stages=stages,
        groups=groups,
        milestones=marks,
        hosts={n.index: n.host for n in run.nodes()},
        warmup=run.json("warmup.json") or (latest[1] if latest else None),
        config=_config(run, plan),
        versions=versions(run, plan),
        endpoint=(run.json("placement.json") or {}).get("endpoint"),
        failure=f"{history.failure.stage}: {history.failure.detail}" if history.failure and failed else None,
        causes=tuple(causes_of(run)) if failed else (),
        restarts=history.restarts,
        kernels=tuple(e.detail for e in events if e.stage == "kernels" and e.detail),
        latest=latest,
    )


def timeline(
    events: Sequence[Event], groups: list[str], began: float, end: float
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The stages' and the groups' rows; a sweep that did not end warm made no group warm."""
    stages = []
    names = [e.stage for e in events if e.state == "started" and _is_stage(e, groups)]
    for name in dict.fromkeys(names):
        mine = [e for e in events if e.stage == name]
        first = next(e.time for e in mine if e.state == "started")
        ends = ("done", "not warm", "failed", "cancelled")
        close = next((e for e in mine if e.state in ends and e.time >= first), None)
        state = "running" if close is None else close.state
        until = close.time if close else end
        stages.append(Row(name, "stage", (Span(first - began, until - began, state),)))
    swept = next((e.time for e in events if (e.stage, e.state) == ("warm", "done")), None)
    stop = next((e.time for e in events if (e.stage, e.state) == ("stop", "started")), end)
    return tuple(stages), tuple(_group_row(g, events, swept, began, stop) for g in groups)


def _is_stage(event: Event, groups: list[str]) -> bool:
    """Groups and services have events of the same kind."""
    return event.stage in STAGES and event.stage not in groups


def _group_row(name: str, events: Sequence[Event], swept: float | None, began: float, end: float) -> Row:
    """starting until registered, registered until ready, ready until warm, warm until the end."""
    changes: list[tuple[float, str]] = []
    marks: list[tuple[float, str]] = []
    for event in events:
        if event.stage == name and event.state in ("started", "registered", "ready", "warm", "restarting"):
            changes.append((event.time, "starting" if event.state == "started" else event.state))
            if event.state == "restarting":
                marks.append((event.time - began, f"restarted: {event.detail}"))
    restarted = next((t for t, s in changes if s == "restarting"), end)
    if swept is not None and swept < restarted and any(s == "ready" and t <= swept for t, s in changes):
        changes.append((swept, "warm"))
    changes.sort()
    ends = [*(at for at, _ in changes[1:]), end][: len(changes)]
    pairs = zip(changes, ends, strict=True)
    spans = [Span(begin - began, until - began, state) for (begin, state), until in pairs if until > begin]
    return Row(name, re.sub(r"-\d+$", "", name), tuple(spans), tuple(marks))


def milestones(events: Sequence[Event], began: float) -> dict[str, float]:
    """When the deployment was ready for the first time, and warm."""
    return {e.stage: e.time - began for e in reversed(events) if e.stage in ("ready", "warm") and e.state == "done"}


def _start_over(stages: tuple[Row, ...], end: float) -> float:
    """When the start was over: the stage `serve` began, or the job ended before."""
    return min([end, *(row.spans[0].begin for row in stages if row.name in ("serve", "stop"))])


def _config(run: RunFolder, plan: Planned) -> str:
    """All layers as one, as the job has them; else as it was written."""
    for name in ("effective.yaml", "config.yaml"):
        with contextlib.suppress(OSError):
            return (run.path / name).read_text(encoding="utf-8")
    return json.dumps(plan.config, indent=2)


# in a log's first lines: what -> how its version stands there
_VERSIONS = {
    "SGLang": re.compile(r"sglang[ =:v(]+(\d+\.\d+\.\d+[\w.]*)", re.I),
    "Dynamo": re.compile(r"(?:dynamo|Dynamo Backend SGLang)[ =:v]+(\d+\.\d+\.\d+[\w.]*)"),
    "NATS": re.compile(r"Version:?\s+v?(\d+\.\d+\.\d+\S*)"),
    "etcd": re.compile(r'"etcd-version":"([^"]+)"'),
}


def versions(run: RunFolder, plan: Planned) -> dict[str, str]:
    """Of everything that says its version in the run's files."""
    found = {"sgl-launch": __version__}
    if made_by := run.made_by():
        found["sgl-launch"] = made_by
    logs = {
        "SGLang": sorted((run.path / "logs").glob("*-0-0.log")),
        "Dynamo": sorted((run.path / "logs").glob("*.log")),
        "NATS": sorted((run.path / "logs").glob("nats*.log")),
        "etcd": sorted((run.path / "logs").glob("etcd*.log")),
    }
    for name, pattern in _VERSIONS.items():
        text = "\n".join(line for path in logs[name][:4] for line in _head(path, 60))
        if at := pattern.search(text):
            found[name] = at[1]
    if "SGLang" not in found and plan.settings.sglang_version:
        found["SGLang"] = f"{plan.settings.sglang_version} (by the config)"
    if plan.settings.image:
        found["image"] = plan.settings.image
    return found


def _head(path: Path, most: int) -> list[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as f:
            return [plain(line)[:400] for _, line in zip(range(most), f, strict=False)]
    except OSError:
        return []
