"""A job's status, put together from its run folder and whoever runs it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field

from launcher.jobstate import JobState, job_state
from launcher.runfolder import STAGES, Event, RunFolder


@dataclass(frozen=True)
class RankStatus:
    """One rank: the node it is on (host name once known) and what is known of its state."""

    group: str
    rank: int
    node: int
    host: str
    state: str


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

    def json(self) -> dict[str, object]:
        return asdict(self)


def stage_of(events: list[Event]) -> str:
    """The stage that the job is at: the last that began; with how it ended if it failed."""
    stage = "queued"
    for event in events:
        if event.stage in STAGES and event.state == "started":
            stage = event.stage
    if any(e.stage == "stop" and e.state == "done" for e in events):
        return "stopped"
    return stage


def read_status(run: RunFolder) -> Status:
    """The status now. Files that are not there yet leave their part empty."""
    state, events = job_state(run), run.events()
    plan = run.json("plan.json")
    endpoint = run.json("endpoint.json") or {}
    failure = next((e for e in events if e.state in ("failed", "cancelled")), None)
    hosts = {n.index: n.host for n in run.nodes()}
    ranks = []
    for group in plan["groups"] if plan else []:
        reached = group_state(group["name"], events, state)
        for rank in group["ranks"]:
            host = hosts.get(rank["node"], "-")
            ranks.append(RankStatus(group["name"], rank["rank"], rank["node"], host, reached))
    end = events[-1].time if state.ended and events else time.time()
    return Status(
        job_id=run.job_id,
        name=run.name,
        folder=str(run.path),
        state=state.state,
        reason=state.reason,
        source=state.source,
        stage=stage_of(events),
        elapsed=end - events[0].time if events else None,
        failure=f"{failure.stage} {failure.state}: {failure.detail}" if failure else None,
        endpoint=endpoint.get("url") if not state.ended else None,
        model=endpoint.get("model"),
        ranks=ranks,
    )


def group_state(group: str, events: list[Event], job: JobState) -> str:
    """waiting, starting, registered, ready or warm, as recorded; ended with the job."""
    if job.ended:
        return "ended"
    state = "waiting"
    for event in events:
        if event.stage in (group, f"{group}-0") and event.state in (
            "started",
            "registered",
            "ready",
        ):
            state = "starting" if event.state == "started" else event.state
    if state == "ready" and any(e.stage == "warm" and e.state == "done" for e in events):
        return "warm"
    return state
