"""Follow a job's events until it has reached a state."""

from __future__ import annotations

import time
from collections.abc import Callable

from launcher.base.counting import duration
from launcher.base.errors import WorkError
from launcher.run.folder import Event, RunFolder
from launcher.run.history import History
from launcher.run.jobstate import JobState
from launcher.run.logfiles import last_lines
from launcher.run.logtext import plain
from launcher.run.reasons import sentence
from launcher.run.slurm import LIMIT
from launcher.run.state import is_local, job_state

OUTPUT_LINES = 5  # of a job that ended without a record, shown in the error


def describe(event: Event, begin: float) -> str | None:
    """An event as a progress line; None for those that only machines read."""
    if event.state == "started" and event.stage in ("nats", "etcd", "frontend"):
        return None
    detail = f"  {event.detail}" if event.detail else ""
    return f"{event.time - begin:8.1f} s  {event.stage:<12} {event.state}{detail}"


def queued_line(reason: str) -> str:
    """Why a job waits in the queue, as a progress line."""
    return f"           queued       {sentence(reason)}".rstrip()


def wait_for(run: RunFolder, target: str, timeout: float | None, say: Callable[[str], None]) -> JobState:
    """The job's state once it is `target` (ready, warm or done); one without a warm-up is warm when it is ready, one
    that is requeued is waited for again. Raises WorkError if it ends before, or after `timeout` seconds."""
    return _Wait(run, target, say).run(timeout)


class _Wait:
    """What has been said and seen so far."""

    def __init__(self, run: RunFolder, target: str, say: Callable[[str], None]) -> None:
        self._run, self._target, self._say = run, target, say
        self._begin = time.monotonic()
        self._seen = 0
        self._queued = ""
        self._left: float | None = None  # when the attempt began whose events are still there after its end
        self._final = 0  # how often in turn Slurm has said that the job is over

    def run(self, timeout: float | None) -> JobState:
        while True:
            left = LIMIT if timeout is None else timeout - (time.monotonic() - self._begin)
            state = job_state(self._run, min(LIMIT, max(left, 0.1)))
            history = self._history(state)
            self._tell(history, state)
            if self._reached(history, state):
                return history.end or state
            self._end_if_over(history, state)
            if timeout is not None and time.monotonic() - self._begin >= timeout:
                at = f"at stage {history.stage}" if history.events else f"still {state}"
                raise WorkError(f"{self._run.path.name} is not {self._target} after {timeout:g} s: {at}")
            time.sleep(0.2 if is_local(self._run) else 2)  # each turn asks Slurm's controller

    def _history(self, state: JobState) -> History:
        """The current attempt's. Until its script has set the events of the one before aside, it has none."""
        history = History.read(self._run, state)
        if state.waiting:
            events = self._run.events()
            self._left = events[0].time if events else None
        elif self._left is not None and history.began == self._left:
            return History()
        return history

    def _tell(self, history: History, state: JobState) -> None:
        if len(history.events) < self._seen:
            self._seen = 0
            why = f": {history.requeued.detail}" if history.requeued else ""
            self._say(queued_line(f"again{why}"))
        for event in history.events[self._seen :]:
            if line := describe(event, history.began or event.time):
                self._say(line)
        self._seen = len(history.events)
        reason = state.reason if state.waiting or (state.state == "UNKNOWN" and not state.forgotten) else ""
        if reason and reason != self._queued:
            self._say(queued_line(reason))
        self._queued = reason

    def _reached(self, history: History, state: JobState) -> bool:
        if self._target == "done":
            ended = history.end is not None or state.state == "COMPLETED"
            return ended and history.failure is None and (history.end or state).state == "COMPLETED"
        if self._target == "warm" and history.warm not in ("", "done") and not state.ended:
            how = "serves but is not warm" if history.warm == "not warm" else "is not warm, and ends"
            raise WorkError(f"{self._run.path.name} {how}: {_why_cold(self._run, history)}; {self._waited()}")
        if history.leaving or state.ended:
            return False
        plan = self._run.plan_or_none() if self._target == "warm" else None
        if self._target == "ready" or (plan is not None and not plan.settings.requests_enabled):
            return history.ready
        return history.warm == "done"

    def _end_if_over(self, history: History, state: JobState) -> None:
        """Raises WorkError once the job will not reach anything any more."""
        over = state.ended or state.forgotten
        self._final = self._final + 1 if over else 0
        # Slurm is quicker than a shared file system: what the job recorded last may take a turn to be seen here
        if not over or (self._final < 2 and history.end is None and not is_local(self._run)):
            return
        name, waited, failure = self._run.path.name, self._waited(), history.failure
        if history.warm == "failed":
            raise WorkError(f"{name} is not warm, and ends: {_why_cold(self._run, history)}; {waited}")
        hint = f"; `sgl-launch logs {self._run.job_id} --why` looks for the cause"
        hint = "" if failure is None or history.cancelled else hint
        if self._target == "done" and failure is not None:
            raise WorkError(f"{name} {failure.state}: {failure.detail} ({waited}){hint}")
        how = str(state) if state.ended else f"and Slurm does not know it any more ({state.reason})"
        why = history.failure_text or _output(self._run)
        raise WorkError(f"{name} has ended, {how}, before it was {self._target} ({waited}). {why}{hint}")

    def _waited(self) -> str:
        return f"waited {duration(time.monotonic() - self._begin)}"


def _why_cold(run: RunFolder, history: History) -> str:
    """The verdict and its reasons in one line, and where the figures are."""
    report = run.json("warmup.json")
    if report is None:  # the sweep came to no verdict
        return next(e.detail for e in history.events if (e.stage, e.state) == ("warm", history.warm))
    reasons = report.get("reasons")
    said = [str(report.get("verdict", "")), "; ".join(map(str, reasons if isinstance(reasons, list) else []))]
    return plain(" ".join(f"{': '.join(filter(None, said))} ({run.path}/warmup.json)".split()))


def _output(run: RunFolder) -> str:
    """What is known of a job that recorded no reason: the end of what its script printed."""
    lines = [text for line in last_lines(run.output, OUTPUT_LINES) if (text := plain(line))]
    if not lines:
        return (
            f"It recorded no reason, and {run.output} is empty or not there: its script may never have started. "
            "Slurm ends a job at once whose first node can't write that file: `runs` must be a folder on storage that "
            "every node sees"
        )
    return "\n".join([f"It recorded no reason; the last lines of {run.output}:", *(f"  {line}" for line in lines)])
