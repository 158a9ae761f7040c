"""A job's status, put together from its run folder, from whoever runs it, and from itself."""

from __future__ import annotations

import getpass
import re
import socket
import time
from dataclasses import asdict, dataclass, field, replace

from launcher.base.errors import WorkError
from launcher.run.folder import STAGES, Event, RunFolder
from launcher.run.logtext import tail, that_matters
from launcher.run.planned import Planned
from launcher.run.probe import Answers, ask
from launcher.run.state import JobState, expectations, is_local, job_state

_LOADING = re.compile(r"load(ing)? (weight|safetensors|checkpoint|model)|capture cuda graph|Multi-thread loading", re.I)


@dataclass(frozen=True)
class RankStatus:
    """One rank: the node it is on (host name once known) and what is known of its state.

    `health` is what rank 0's health port said, `-` for other ranks, empty if it was not asked;
    `lease` the seconds for which its registration holds without being renewed.
    """

    group: str
    rank: int
    node: int
    host: str
    state: str
    health: str = ""
    restarts: int = 0
    registered: bool | None = None
    lease: float | None = None
    line: str = ""


@dataclass(frozen=True)
class Status:
    """What `status --json` prints. Times in seconds; None is "not known yet"."""

    job_id: str
    name: str
    folder: str
    state: str
    reason: str
    source: str
    stage: str
    elapsed: float | None
    failure: str | None
    endpoint: str | None
    model: str | None
    ranks: list[RankStatus] = field(default_factory=list)
    expected_start: str | None = None
    time_left: str | None = None
    tunnel: str | None = None
    security: str | None = None
    services: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def json(self) -> dict[str, object]:
        return asdict(self)


def stage_of(events: list[Event]) -> str:
    """The stage that the job is at: the last that began; with how it ended if it failed."""
    stage = "queued"
    for event in events:
        if event.stage in STAGES and event.state == "started":
            stage = event.stage
    if any(e.stage == "stop" and e.state == "done" for e in events):
        return "drained" if any(e.state == "drained" for e in events) else "stopped"
    return stage


def read_status(run: RunFolder, probe: bool = True) -> Status:
    """The status now. A source that does not answer leaves its part empty, and is named."""
    state, events = job_state(run), run.events()
    plan = run.plan_or_none()
    endpoint = run.json("endpoint.json") or {}
    failure = next((e for e in events if e.state in ("failed", "cancelled")), None)
    answers = Answers()
    missing: list[str] = []
    if state.state == "UNKNOWN":
        missing.append(f"Slurm: {state.reason}")
    if probe and plan and not state.ended:
        answers, why = _ask(run, events)
        missing += [*answers.missing, *why]
    end = events[-1].time if state.ended and events else time.time()
    expected = expectations(run.job_id) if state.source == "squeue" else {}
    url = endpoint.get("url") if not state.ended else None
    return Status(
        job_id=run.job_id,
        name=run.name,
        folder=str(run.path),
        state=state.state,
        reason=state.reason if state.state != "UNKNOWN" else "",
        source=state.source,
        stage=stage_of(events),
        elapsed=end - events[0].time if events else None,
        failure=f"{failure.stage} {failure.state}: {failure.detail}" if failure else None,
        endpoint=url,
        model=endpoint.get("model"),
        ranks=_ranks(run, plan, events, state, answers) if plan else [],
        expected_start=expected.get("start") if state.state == "PENDING" else None,
        time_left=expected.get("left") if state.state != "PENDING" else None,
        tunnel=tunnel(url, is_local(run)) if url else None,
        security=_security(plan) if plan else None,
        services=_services(plan, events, state) if plan else {},
        missing=missing,
    )


def _ask(run: RunFolder, events: list[Event]) -> tuple[Answers, list[str]]:
    from launcher.run.deployment import read_deployment

    try:
        deployment = read_deployment(run)
    except WorkError:
        return Answers(), []  # it has no addresses yet
    if not any(e.stage == "workers" for e in events):
        return Answers(), []  # and no workers
    return ask(deployment), []


def _ranks(run: RunFolder, plan: Planned, events: list[Event], job: JobState, answers: Answers) -> list[RankStatus]:
    hosts = {n.index: n.host for n in run.nodes()}
    steady = (run.json("warmup.json") or {}).get("verdict", "warm") == "warm"
    ranks = []
    for group in plan.groups:
        name = group.name
        restarts = sum(e.stage == name and e.state == "restarting" for e in events)
        lease = (answers.leases or {}).get(name)
        health = answers.health.get(name, "")
        registered = None if answers.leases is None else lease is not None
        state = now(group_state(name, events, job, steady), health, registered)
        for rank in group.ranks:
            lines = tail(run.path / "logs" / f"{name}-{rank.rank}.log")
            one = RankStatus(name, rank.rank, rank.node, hosts.get(rank.node, "-"), state, restarts=restarts)
            one = replace(one, line=that_matters(lines))
            if state == "starting" and any(_LOADING.search(line) for line in lines[-200:]):
                one = replace(one, state="loading")
            if rank.rank == 0:
                one = replace(one, health=health, registered=registered, lease=lease.left if lease else None)
            elif health:
                one = replace(one, health="-")
            ranks.append(one)
    return ranks


def group_state(group: str, events: list[Event], job: JobState, steady: bool = True) -> str:
    """waiting, starting, registered, ready, warm or restarting, as recorded; ended with the job.

    `steady`: whether the job's own warm-up, once it is over, ended warm.
    """
    if job.ended:
        return "ended"
    state, swept = "waiting", False
    for event in events:
        if event.stage == "warm" and event.state == "done":
            swept = steady
        if event.stage not in (group, f"{group}-0"):
            continue
        if event.state in ("restarting", "deregistered"):
            # from here on only a warm-up of its own counts
            state, swept = "restarting", False
        elif event.state == "started":
            state = "starting"
        elif event.state in ("registered", "ready", "warm"):
            state = event.state
    return "warm" if state == "ready" and swept else state


def now(recorded: str, health: str, registered: bool | None) -> str:
    """The recorded state, unless the worker itself or etcd says otherwise: then it is lost."""
    if recorded in ("ready", "warm") and (registered is False or health == "refused"):
        return "lost"
    return recorded


def _security(plan: Planned) -> str:
    """Who may connect to the services, in words."""
    if not plan.services:
        return "no services"
    if not plan.settings.secured:
        return "open: anyone on the network can connect to NATS and etcd"
    nats = "password and TLS" if plan.settings.nats_tls else "password"
    return f"secured: etcd by certificate, NATS by {nats}"


def _services(plan: Planned, events: list[Event], job: JobState) -> dict[str, str]:
    """State of NATS, etcd and frontend as recorded."""
    found = {}
    for name in [*plan.services, "frontend"]:
        states = {e.state for e in events if e.stage == name}
        if name == "frontend" and any((e.stage, e.state) == ("ready", "done") for e in events):
            states.add("ready")  # every request of that stage went through it
        found[name] = "ended" if job.ended else "ready" if "ready" in states else "started" if states else "waiting"
    return found


def tunnel(url: str, local: bool) -> str | None:
    """The ssh line that makes the endpoint reachable from elsewhere; None on one's own machine."""
    host, _, port = url.rpartition("//")[2].rstrip("/").partition(":")
    if local and host.startswith("127."):
        return None
    near = port if port.isdecimal() and int(port) >= 1024 else "8000"
    return f"ssh -N -L {near}:{host}:{port or 80} {getpass.getuser()}@{socket.gethostname()}"


def duration(seconds: float) -> str:
    """12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
