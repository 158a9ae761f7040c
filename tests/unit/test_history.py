"""The fold of a run's events: stage, groups, failure and end of the current attempt, in every order of events."""

from __future__ import annotations

import itertools

import pytest

from launcher.run.folder import Event
from launcher.run.history import History
from launcher.run.jobstate import JobState

START = "nodes started, nodes done, workers started, decode-0 started, workers done, ready started, decode-0 ready"
READY = f"{START}, ready done"
SERVE = f"{READY}, warm started, warm done, serve started"
STOPPED = "stop started, stop done: exit status"
RUNNING, PENDING = JobState("RUNNING"), JobState("PENDING", "Priority", "squeue")


def events(text: str) -> list[Event]:
    """`serve failed: detail, stop started` as events, a second apart."""
    found = []
    for number, item in enumerate(text.split(", ")):
        what, _, detail = item.partition(": ")
        stage, _, state = what.partition(" ")
        found.append(Event(100.0 + number, stage, state, detail))
    return found


def history(text: str, state: JobState | None = None) -> History:
    return History.of(events(text), state)


@pytest.mark.parametrize(
    ("text", "stage", "failure", "end"),
    [
        ("nodes started", "nodes", None, None),
        (SERVE, "serve", None, None),
        (f"{SERVE}, {STOPPED} 0", "stopped", None, "COMPLETED"),
        (f"{SERVE}, {STOPPED} 1", "stopped", None, "FAILED (exit status 1)"),
        (f"{START}, ready failed: silent, {STOPPED} 1", "stopped", "ready failed: silent", "FAILED (exit status 1)"),
        (f"{SERVE}, serve cancelled: SIGTERM, {STOPPED} 143", "stopped", "serve cancelled: SIGTERM", "CANCELLED"),
        (f"{SERVE}, serve drained: SIGUSR2, {STOPPED} 0", "drained", None, "COMPLETED"),
        # asked to drain before it served anybody
        (f"{START}, ready drained: SIGUSR2, {STOPPED} 0", "stopped",
         "ready drained: asked to end before it served", "FAILED (asked to end before it served)"),
        # cancelled while it drained
        (f"{SERVE}, serve drained: SIGUSR2, stop started, stop cancelled: SIGTERM, stop done: exit status 143",
         "stopped", "stop cancelled: SIGTERM", "CANCELLED"),
        # cancelled while it ended because of a failure: the first reason counts
        (f"{SERVE}, serve failed: decode-0 ended, stop started, stop cancelled: SIGTERM, stop done: exit status 1",
         "stopped", "serve failed: decode-0 ended", "FAILED (exit status 1)"),
        # before its first stage
        ("stop failed: sgl-launch does not run on n001, stop done: exit status 127", "stopped",
         "stop failed: sgl-launch does not run on n001", "FAILED (exit status 127)"),
        # what a group says after the end
        (f"{SERVE}, {STOPPED} 0, decode-0 lost: gone", "stopped", None, "COMPLETED"),
    ],
)  # fmt: skip
def test_stage_failure_and_end(text: str, stage: str, failure: str | None, end: str | None) -> None:
    found = history(text)
    assert (found.stage, found.failure_text) == (stage, failure)
    assert (str(found.end) if found.end else None) == end
    assert found.leaving is ("stop" in text)


@pytest.mark.parametrize(
    ("text", "state", "restarts"),
    [
        ("nodes started", "waiting", 0),
        (READY, "ready", 0),
        (SERVE, "warm", 0),
        (f"{READY}, warm started, warm not warm: see x, serve started", "ready", 0),
        (f"{SERVE}, decode-0 restarting: exit status 1", "restarting", 1),
        (f"{SERVE}, decode-0 restarting, decode-0 deregistered", "restarting", 1),
        (f"{SERVE}, decode-0 restarting, decode-0 started, decode-0 registered", "registered", 1),
        (f"{SERVE}, decode-0 restarting, decode-0 started, decode-0 ready", "ready", 1),
        (f"{SERVE}, decode-0 restarting, decode-0 started, decode-0 ready, decode-0 warm", "warm", 1),
        (f"{SERVE}, decode-0 lost: not in etcd", "lost", 0),
        (f"{SERVE}, decode-0-0 restarting", "restarting", 1),
        (f"{SERVE}, prefill-0 restarting, decode-1 restarting", "warm", 0),
        # a restart in the middle of the sweep
        (f"{READY}, warm started, decode-0 restarting, decode-0 started, warm done, decode-0 ready", "ready", 1),
    ],
)
def test_a_group(text: str, state: str, restarts: int) -> None:
    found = history(text).process("decode-0")
    assert (found.state, found.restarts) == (state, restarts)


REQUEUED = f"{SERVE}, serve failed: decode-0 ended, stop started, stop done: exit status 1, stop requeued: without n002"


def test_a_frontend_is_a_stage_and_a_process() -> None:
    found = history("services started, frontend started, frontend started: n001, frontend failed: port taken")
    assert (found.stage, found.process("frontend").state) == ("frontend", "starting")
    assert found.failure_text == "stage frontend failed: port taken"
    found = history("frontend started, serve started, frontend restarting, frontend started: n001, frontend ready")
    assert (found.stage, found.process("frontend").state) == ("serve", "ready")


def test_a_requeued_job_begins_anew() -> None:
    waits = history(REQUEUED)
    assert (waits.stage, waits.failure, waits.end, waits.ready, waits.attempt) == ("queued", None, None, False, 1)
    assert waits.requeued is not None
    assert waits.requeued.detail == "without n002"
    again = history(f"{REQUEUED}, {READY}", RUNNING)
    assert (again.stage, again.failure, again.ready, again.attempt) == ("ready", None, True, 1)
    assert again.began == 100.0 + len(REQUEUED.split(", "))
    ended = history(f"{REQUEUED}, {SERVE}, {STOPPED} 0")
    assert (str(ended.end), ended.failure, ended.attempt) == ("COMPLETED", None, 1)


def test_a_requeue_that_is_recorded_before_the_end() -> None:
    found = history(f"{SERVE}, serve failed: x, stop started, stop requeued: without n002, stop done: exit status 1")
    assert (found.stage, found.end, found.attempt) == ("queued", None, 1)


def test_what_is_recorded_of_an_attempt_that_was_the_last() -> None:
    """Slurm refused to requeue it, or the logs of the attempt are looked at while it waits."""
    for found in (history(REQUEUED, JobState("FAILED")), History.of(events(REQUEUED), PENDING, begun=True)):
        assert found.failure_text == "serve failed: decode-0 ended"
        assert (found.attempt, found.ready) == (0, True)


@pytest.mark.parametrize("state", ["PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING"])
def test_a_job_that_waits_has_not_begun(state: str) -> None:
    """Slurm requeued it itself: nothing in the record says so."""
    found = history(SERVE, JobState(state))
    assert (found.stage, found.ready, found.attempt) == ("queued", False, 1)
    assert History.of([], JobState(state)).attempt == 0


def test_the_end_is_the_same_in_every_order() -> None:
    """What a job is told at its end may be written in any order."""
    told = events("serve drained: SIGUSR2, serve cancelled: SIGTERM, decode-0 lost: gone, stop started")
    for order in itertools.permutations(told):
        found = History.of([*events(SERVE), *order, *events("stop done: exit status 143")])
        assert (str(found.end), found.cancelled, found.leaving) == ("CANCELLED", True, True)
