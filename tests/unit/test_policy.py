"""What follows when a part ends: the table, and the window of restarts."""

from __future__ import annotations

import pytest

from launcher.config.schema import OnFailure
from launcher.job.policy import LONGEST_PAUSE, Kind, Phase, Window, decide

RESTART, STOP, REQUEUE = (
    OnFailure.model_validate(dict.fromkeys(("workers", "services", "frontends"), rule))
    for rule in ("restart", "stop", "requeue")
)


@pytest.mark.parametrize(
    ("kind", "starting", "serving"),
    [
        ("worker", ("fail", "fail", "fail"), ("restart", "fail", "requeue")),
        ("frontend", ("fail", "fail", "fail"), ("restart", "fail", "requeue")),
        ("service", ("restart", "fail", "requeue"), ("restart", "fail", "requeue")),
        ("front", ("restart", "restart", "restart"), ("restart", "restart", "restart")),
    ],
)
def test_the_table(kind: Kind, starting: tuple[str, ...], serving: tuple[str, ...]) -> None:
    phases: list[tuple[Phase, tuple[str, ...]]] = [
        ("starting", starting), ("serving", serving), ("stopping", ("ignore", "ignore", "ignore")),
    ]  # fmt: skip
    for phase, actions in phases:
        found = tuple(decide(kind, phase, rules, Window(3, 600), 0) for rules in (RESTART, STOP, REQUEUE))
        assert found == actions, phase


def test_a_window_that_is_full() -> None:
    window = Window(2, 10)
    for now in (0, 1):
        assert decide("worker", "serving", RESTART, window, now) == "restart"
        window.note(now)
    assert decide("worker", "serving", RESTART, window, 9.9) == "fail"
    assert decide("worker", "serving", RESTART, window, 10) == "restart"
    assert decide("worker", "serving", REQUEUE, Window(0, 10), 0) == "requeue"


def test_pauses() -> None:
    window = Window(100, 1000)
    found = []
    for now in range(10):
        assert window.allows(now)
        found.append(window.note(now))
    assert found == [0, 1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert window.allows(5000)
    assert window.note(5000) == 0
