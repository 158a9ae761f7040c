"""A job's status, put together from its run folder, from whoever runs it, and from itself."""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from launcher.base.errors import WorkError
from launcher.run.deployment import read_deployment
from launcher.run.folder import RunFolder
from launcher.run.history import History
from launcher.run.jobstate import JobState
from launcher.run.logfiles import tail
from launcher.run.logtext import plain, that_matters
from launcher.run.planned import Planned
from launcher.run.reasons import sentence
from launcher.run.service import service_line
from launcher.run.state import is_local, job_state

if TYPE_CHECKING:
    from launcher.run.deployment import Deployment
    from launcher.run.probe import Answers

LOG_TAIL, LOG_LINES = 16384, 200  # bytes of each rank's log that are looked at, and lines of them
_LOADING = re.compile(r"load(ing)? (weight|safetensors|checkpoint|model)|capture cuda graph|Multi-thread loading", re.I)


@dataclass(frozen=True)
class RankStatus:
    """One rank, and what is known of its state."""

    group: str
    rank: int
    node: int
    host: str  # `-` until it is known
    state: str
    health: str = ""  # what rank 0's health port said, `-` for other ranks, empty if it was not asked
    restarts: int = 0
    registered: bool | None = None
    lease: float | None = None  # seconds for which its registration holds without being renewed
    line: str = ""


@dataclass(frozen=True)
class Status:
    """What `status --json` prints, of the current attempt. Times in seconds; None is "not known yet"."""

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
    guard: str | None = None
    security: str | None = None
    services: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    attempt: int = 0  # Slurm runs a requeued job again
    requeued: str | None = None  # why the attempt before it was given up
    service: str = ""  # whether it serves, in one line
    kernels: str | None = None  # what the stage brought, and, once warm, what was compiled all the same


def read_status(run: RunFolder, probe: bool = True) -> Status:
    """The status now. A source that does not answer leaves its part empty, and is named."""
    state = job_state(run)
    history = History.read(run, state)
    missing = [state.reason] if state.state == "UNKNOWN" else []
    plan = None
    try:
        plan = run.plan_or_none()
    except WorkError as e:
        missing.append(str(e))
    # read here: a process that has threads cannot enter a job's own network
    deployment = _deployment(run, history, plan) if probe and plan and not state.ended else None
    with ThreadPoolExecutor() as threads:  # those that are silent are waited for, and the logs are read meanwhile
        asked = threads.submit(_ask, deployment) if deployment else None
        logs = _log_tails(run, plan) if plan else {}
        answers = asked.result() if asked else None
    missing += answers.missing if answers else ()
    end = history.last if state.ended and history.last else time.time()
    endpoint = run.endpoint() if not state.ended and history.events else None
    found = Status(
        job_id=run.job_id,
        name=run.name,
        folder=str(run.path),
        state=state.state,
        reason=state.reason if state.state != "UNKNOWN" else "",
        source=state.source,
        stage=history.stage,
        elapsed=end - history.began if history.began else None,
        failure=history.failure_text,
        endpoint=endpoint.shown if endpoint else None,
        model=endpoint.model if endpoint else None,
        ranks=list(_ranks(run, plan, history, state, answers, logs)) if plan else [],
        expected_start=state.start or None if state.waiting else None,
        time_left=state.left or None if not (state.waiting or state.ended) else None,
        tunnel=tunnel(endpoint.url, is_local(run)) if endpoint and not endpoint.socket else None,
        guard=_guard(plan, run.job_id) if plan else None,
        security=_security(plan) if plan else None,
        services=_services(plan, history, state) if plan else {},
        missing=missing,
        attempt=history.attempt,
        requeued=history.requeued.detail if history.requeued else None,
        kernels="; ".join(e.detail for e in history.events if e.stage == "kernels" and e.detail) or None,
    )
    return replace(found, service=_service(found, state, history))


def _service(status: Status, state: JobState, history: History) -> str:
    """Whether it serves, in a line; empty for a job that has ended, or that nobody knows about."""
    if state.waiting:
        return "waiting for nodes" + (f": {sentence(status.reason)}" if status.reason else "")
    if state.ended or state.state == "UNKNOWN":
        return ""
    groups: dict[str, list[str]] = {}
    for rank in status.ranks:
        if rank.rank == 0:
            groups.setdefault(rank.group.rpartition("-")[0], []).append(rank.state)
    return service_line(history.stage, groups, status.endpoint is not None, history.warm)


def _deployment(run: RunFolder, history: History, plan: Planned) -> Deployment | None:
    """Where the job can be asked; None while it has no workers or addresses."""
    if any(e.stage == "workers" for e in history.events):
        with contextlib.suppress(WorkError):
            return read_deployment(run, plan)
    return None


def _ask(deployment: Deployment) -> Answers | None:
    from launcher.run.probe import ask  # imports asyncio, which takes long

    with contextlib.suppress(WorkError):
        return ask(deployment)
    return None


def _log_tails(run: RunFolder, plan: Planned) -> dict[str, list[str]]:
    """The last lines of each rank's log, fit for a terminal, by GROUP-RANK."""
    names = [f"{group.name}-{rank.rank}" for group in plan.groups for rank in group.ranks]
    tails = {name: tail(run.path / "logs" / f"{name}.log", LOG_TAIL)[-LOG_LINES:] for name in names}
    return {name: list(filter(None, map(plain, lines))) for name, lines in tails.items()}


def _ranks(
    run: RunFolder, plan: Planned, history: History, job: JobState, answers: Answers | None, logs: dict[str, list[str]]
) -> Iterator[RankStatus]:
    healths, leases = (answers.health, answers.leases) if answers else ({}, None)
    hosts = {n.index: n.host for n in run.nodes()}
    for group in plan.groups:
        recorded, health = history.process(group.name), healths.get(group.name, "")
        registered = None if leases is None else group.name in leases
        state = "ended" if job.ended else now(recorded.state, health, registered)
        for rank in group.ranks:
            lines = logs[f"{group.name}-{rank.rank}"]
            loads, first = state == "starting" and any(map(_LOADING.search, lines)), rank.rank == 0
            yield RankStatus(
                group=group.name,
                rank=rank.rank,
                node=rank.node,
                host=hosts.get(rank.node, "-"),
                state="loading" if loads else state,
                health=health if first else "-" if health else "",
                restarts=recorded.restarts,
                registered=registered if first else None,
                lease=leases.get(group.name) if first and leases else None,
                line=that_matters(lines),
            )


def now(recorded: str, health: str, registered: bool | None) -> str:
    """The recorded state, unless the worker itself or etcd says otherwise: then it is lost."""
    if recorded in ("ready", "warm") and (registered is False or health == "refused"):
        return "lost"
    return recorded


def _guard(plan: Planned, job: str) -> str:
    """Who may use the endpoint, in words."""
    if plan.settings.endpoint == "open":
        return "open: anyone who reaches it can use the model"
    return f"by key: sgl-launch endpoint {job} --env"


def _security(plan: Planned) -> str:
    """Who may connect to the services, in words."""
    if not plan.services:
        return "no services"
    if not plan.settings.secured:
        return "open: anyone on the network can connect to NATS and etcd"
    nats = "password and TLS" if plan.settings.nats_tls else "password"
    return f"secured: etcd by certificate, NATS by {nats}"


def _services(plan: Planned, history: History, job: JobState) -> dict[str, str]:
    """State of NATS, etcd and frontend as recorded: waiting, started, ready, restarting, ended."""
    found = {}
    for name in [*plan.services, "frontend"]:
        state = history.process(name).state
        if name == "frontend" and state == "starting" and history.ready:
            state = "ready"  # every request of that stage went through it
        found[name] = "ended" if job.ended else {"starting": "started"}.get(state, state)
    return found


def tunnel(url: str, local: bool) -> str | None:
    """The ssh line that makes the endpoint reachable from elsewhere; None on one's own machine."""
    host, _, port = url.rpartition("//")[2].rstrip("/").partition(":")
    if local and host.startswith("127."):
        return None
    near = port if port.isdecimal() and int(port) >= 1024 else "8000"
    return f"ssh -N -L {near}:{host}:{port or 80} {getpass.getuser()}@{socket.gethostname()}"
