"""What a run's events say: the only place that folds them into a stage, states of groups and an end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from launcher.run.folder import STAGES, Event, RunFolder
from launcher.run.jobstate import JobState

# an event of a worker group or a service -> its state from then on
_STATES = {"started": "starting", **{state: state for state in ("registered", "ready", "warm", "lost")}}


@dataclass(frozen=True)
class Process:
    """A worker group, a service or a frontend as recorded: waiting, starting, registered, ready, warm, restarting or
    lost; and how often it was started again."""

    state: str = "waiting"
    restarts: int = 0


@dataclass(frozen=True)
class History:
    """One attempt of a job: the current one."""

    events: tuple[Event, ...] = ()
    attempt: int = 0  # Slurm runs a requeued job again
    stage: str = "queued"  # the last that began; in the end `stopped` or `drained`
    failure: Event | None = None  # the first that said why the job ends: failed, cancelled, drained too early
    end: JobState | None = None
    requeued: Event | None = None  # what ended the attempt before this one
    ready: bool = False
    warm: str = ""
    leaving: bool = False
    processes: Mapping[str, Process] = field(default_factory=dict)

    @property
    def began(self) -> float | None:
        """When the attempt began, in seconds since the epoch."""
        return self.events[0].time if self.events else None

    @property
    def last(self) -> float | None:
        """When something was last recorded, in seconds since the epoch."""
        return self.events[-1].time if self.events else None

    @property
    def cancelled(self) -> bool:
        return self.failure is not None and self.failure.state == "cancelled"

    @property
    def failure_text(self) -> str | None:
        """`workers failed: decode-0 ended`."""
        kind = "stage " if self.failure and self.failure.stage == "frontend" else ""  # a process has that name too
        return f"{kind}{self.failure.stage} {self.failure.state}: {self.failure.detail}" if self.failure else None

    @property
    def restarts(self) -> int:
        """Of all worker groups and services."""
        return sum(p.restarts for p in self.processes.values())

    def process(self, name: str) -> Process:
        return self.processes.get(name, Process())

    @classmethod
    def read(cls, run: RunFolder, state: JobState | None = None, begun: bool = False) -> History:
        """Of a run folder, which keeps the attempts before this one in attempts/."""
        found = cls.of(run.events(), state, begun)
        return replace(found, attempt=found.attempt + run.attempts_kept())

    @classmethod
    def of(cls, events: Sequence[Event], state: JobState | None = None, begun: bool = False) -> History:
        """Fold the events of a run. `state` is the job's, where it is known: of one that waits in the queue, the
        events are of an attempt that is over, and one that has ended has no attempt to come. `begun`: the latest
        attempt that has begun, whose logs are there, though the job may have been requeued since."""
        attempts = _attempts(events)
        if len(attempts) > 1 and not attempts[-1] and (begun or (state is not None and state.ended)):
            attempts.pop()
        elif attempts[-1] and not begun and state is not None and state.waiting:
            attempts.append([])
        requeued = next((e for e in reversed(attempts[-2]) if e.state == "requeued"), None) if attempts[1:] else None
        return _fold(tuple(attempts[-1]), len(attempts) - 1, requeued)


def _attempts(events: Sequence[Event]) -> list[list[Event]]:
    """The events by attempt, the current one last; it is empty after a requeue until its first stage begins."""
    attempts: list[list[Event]] = [[]]
    over = requeued = False
    for event in events:
        if over and event.state == "started" and event.stage in STAGES and event.stage != "stop":
            attempts.append([])
            over = requeued = False
        requeued = requeued or (event.stage, event.state) == ("stop", "requeued")
        over = requeued or (event.stage, event.state) == ("stop", "done")
        attempts[-1].append(event)
    return [*attempts, []] if requeued else attempts


def _fold(events: tuple[Event, ...], attempt: int, requeued: Event | None) -> History:
    stage, warm = "queued", ""
    failure = drained = None
    ready = served = leaving = False
    end: JobState | None = None
    processes: dict[str, Process] = {}
    for event in events:
        what = (event.stage, event.state)
        # A frontend that starts again is no stage: stages are not gone through twice.
        if event.stage in STAGES[_place(stage) + 1 :] and event.state == "started":
            stage = event.stage
            served = served or stage == "serve"
            leaving = leaving or stage == "stop"
        if event.state in ("failed", "cancelled") and (event.stage in STAGES or event.stage not in processes):
            failure, leaving = failure or event, True
        elif event.state == "drained":
            drained, leaving = event, True
            if not served:
                failure = failure or Event(event.time, event.stage, "drained", "asked to end before it served")
        elif what == ("ready", "done"):
            ready = True
        elif what == ("stop", "done"):
            stage, end = "drained" if drained and not failure else "stopped", _end(failure, event.detail)
        if event.stage == "warm" and event.state in ("done", "not warm", "failed"):
            warm = warm or event.state
            if event.state == "done" and warm == "done":
                processes = {n: Process("warm", p.restarts) if p.state == "ready" else p for n, p in processes.items()}
        if event.stage not in STAGES or event.stage == "frontend":  # which is a stage and a process
            _process(processes, event)
    return History(events, attempt, stage, failure, end, requeued, ready, warm, leaving, processes)


def _place(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else -1


def _process(processes: dict[str, Process], event: Event) -> None:
    """One event of a worker group or a service; a process of a group (`decode-0-0`) speaks for the group."""
    name = event.stage
    head, _, rank = name.rpartition("-")
    if rank == "0" and re.search(r"-\d+$", head):
        name = head
    known = processes.get(name, Process())
    if event.state in ("restarting", "deregistered"):
        # from here on only a warm-up of its own makes it warm
        processes[name] = Process("restarting", known.restarts + (event.state == "restarting"))
    elif event.state in _STATES:
        processes[name] = Process(_STATES[event.state], known.restarts)


def _end(failure: Event | None, detail: str) -> JobState:
    """How the job ended, by its last line, in Slurm's words."""
    if failure is not None and failure.state == "cancelled":
        return JobState("CANCELLED", "", "events")
    if failure is not None and failure.state == "drained":
        return JobState("FAILED", failure.detail, "events")
    if re.fullmatch(r"exit status 0+", detail):
        return JobState("COMPLETED", "", "events")
    return JobState("FAILED", detail, "events")
