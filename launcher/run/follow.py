"""Follow a job's events until it has reached a state."""

from __future__ import annotations

import time
from collections.abc import Callable

from launcher.base.errors import WorkError
from launcher.run.folder import Event, RunFolder
from launcher.run.state import is_local, job_state
from launcher.run.status import duration, stage_of

# what must have happened: (stage, state) of an event
REACHED = {
    "ready": {("ready", "done")},
    "warm": {("warm", "done"), ("warm", "not warm"), ("warm", "failed")},
    "done": {("stop", "done")},
}


def describe(event: Event, begin: float) -> str | None:
    """An event as a progress line; None for those that only machines read."""
    if event.state == "started" and event.stage in ("nats", "etcd", "frontend"):
        return None
    detail = f"  {event.detail}" if event.detail else ""
    return f"{event.time - begin:8.1f} s  {event.stage:<12} {event.state}{detail}"


def queued_line(reason: str) -> str:
    """Why a job waits in the queue, as a progress line."""
    return f"           queued       {reason}".rstrip()


def wait_for(run: RunFolder, target: str, timeout: float | None, say: Callable[[str], None]) -> None:
    """Returns once the job has reached `target` (ready, warm or done).

    A job without a warm-up counts as warm when it is ready. Raises WorkError when the job ends
    before that (with its reason), when a `done` job failed, or after `timeout` seconds.
    """
    begin = time.monotonic()
    first: float | None = None
    seen = 0
    queued = ""
    while True:
        state = job_state(run)
        events = run.events()
        for event in events[seen:]:
            first = event.time if first is None else first
            line = describe(event, first)
            if line:
                say(line)
        seen = len(events)
        failure = next((e for e in events if e.state in ("failed", "cancelled")), None)
        if _reached(run, events, target):
            if target == "done" and failure is not None:
                raise WorkError(f"{run.path.name} {failure.state}: {failure.detail} ({_waited(begin)})")
            cold = next((e for e in events if e.stage == "warm" and e.state in ("not warm", "failed")), None)
            if target == "warm" and cold is not None:
                how = "serves but is not warm" if cold.state == "not warm" else "is not warm, and ends"
                raise WorkError(f"{run.path.name} {how}: {_why_cold(run, cold)}; {_waited(begin)}")
            return
        if state.ended and not _fresh(events):
            reason = f"{failure.stage} {failure.state}: {failure.detail}" if failure else ""
            raise WorkError(
                f"{run.path.name} has ended, {state}, before it was {target} ({_waited(begin)}). "
                f"{reason or f'See {run.path}/logs and {run.path}.out'}{_hint(run, failure)}"
            )
        if state.state == "PENDING" and state.reason != queued:
            queued = state.reason
            say(queued_line(queued))
        if timeout is not None and time.monotonic() - begin > timeout:
            at = f"still {state.state} ({state.reason})" if state.state == "PENDING" else f"at stage {stage_of(events)}"
            raise WorkError(f"{run.path.name} is not {target} after {timeout:g} s: {at}")
        time.sleep(0.2 if is_local(run) else 2)  # each turn asks Slurm's controller


def _reached(run: RunFolder, events: list[Event], target: str) -> bool:
    reached = REACHED[target]
    if target == "warm":
        plan = run.plan_or_none()
        if plan and not plan.settings.requests_enabled:
            reached = REACHED["ready"]
    return any((e.stage, e.state) in reached for e in events)


def _waited(begin: float) -> str:
    return f"waited {duration(time.monotonic() - begin)}"


def _why_cold(run: RunFolder, cold: Event) -> str:
    """The verdict and its reasons in one line, and where the figures are."""
    report = run.json("warmup.json")
    if report is None:
        return cold.detail  # the sweep came to no verdict
    said = [str(report.get("verdict", "")), "; ".join(map(str, report.get("reasons") or []))]
    return " ".join(f"{': '.join(filter(None, said))} ({run.path}/warmup.json)".split())


def _hint(run: RunFolder, failure: Event | None) -> str:
    failed = failure is not None and failure.state == "failed"
    return f"; `sgl-launch logs {run.job_id} --why` looks for the cause" if failed else ""


def _fresh(events: list[Event]) -> bool:
    """Whether the last event is so new that more may come."""
    return bool(events) and time.time() - events[-1].time < 1.0
