"""What a link of a service does next, over all that it may see."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.base.errors import InputError
from launcher.run.folder import RunFolder
from launcher.run.jobstate import JobState
from launcher.service.commands.serve import seconds
from launcher.service.links import FAILURES, Link, current, lead_of, next_step

RUNNING = JobState("RUNNING")
WAITS = JobState("PENDING", "Priority")
HELD = JobState("PENDING", "Dependency")
FAILED, GONE, UNKNOWN = JobState("FAILED"), JobState("UNKNOWN", forgotten=True), JobState("UNKNOWN")


def link(number: int, state: JobState = RUNNING, warm: bool = False, folder: Path = Path("runs")) -> Link:
    return Link(RunFolder(folder / f"m-{number}"), state, warm, 30.0 if warm else None)


OWN = link(1, warm=True)


@pytest.mark.parametrize(
    ("later", "now", "until", "expected"),
    [
        ([], 0, 10_000, "submit"),
        ([], 0, 1000, "wait"),  # the last one
        ([], 1000, 1000, "end"),
        ([link(2, warm=True)], 1000, 1000, "end"),
        ([link(2, HELD)], 0, 10_000, "wait"),
        ([link(2, HELD)], 950, 10_000, "let go"),
        ([link(2, WAITS)], 950, 10_000, "wait"),
        ([link(2, HELD), link(3, WAITS)], 950, 10_000, "wait"),  # an update waits already
        ([link(2)], 950, 10_000, "wait"),  # it starts
        ([link(2, warm=True)], 0, 10_000, "hand over"),
        ([link(2, UNKNOWN, warm=True)], 0, 10_000, "hand over"),  # slurmctld is away
        ([link(2, FAILED)], 0, 10_000, "submit"),
        ([link(2, GONE)], 0, 10_000, "submit"),
        ([link(2, warm=True), link(3, FAILED)], 0, 10_000, "hand over"),
    ],
)
def test_the_next_step(later: list[Link], now: float, until: float, expected: str) -> None:
    assert next_step(OWN, later, now, ends=1000, until=until, lead=100).do == expected


def test_the_newest_warm_link_takes_over() -> None:
    step = next_step(OWN, [link(2, warm=True), link(3, warm=True), link(4)], 0, 1000, 9000, 100)
    assert step.link is not None
    assert step.link.number == 3
    assert current([OWN, link(2, FAILED, warm=True)]) == OWN
    assert current([link(2)]) is None


def test_links_that_fail_again_and_again_are_queued_less_often(tmp_path: Path) -> None:
    later = [link(n, FAILED, folder=tmp_path) for n in range(2, 3 + FAILURES)]
    later[-1].run.path.mkdir()
    failed_at = later[-1].run.path.stat().st_mtime
    far = failed_at + 10_000
    assert next_step(OWN, later, failed_at + 1, far, far + 1, 100).do == "wait"
    assert next_step(OWN, later, failed_at + 61, far, far + 1, 100).do == "submit"


def test_the_lead_follows_from_the_links_own_time_to_warm() -> None:
    assert lead_of(OWN, None) == 180
    assert lead_of(OWN, 40) == 40


def test_lengths_of_time() -> None:
    assert [seconds(t) for t in ("7d", "12h", "90m", "45s", "2w")] == [604800, 43200, 5400, 45, 1209600]
    for wrong in ("7", "d", "0h", "1.5h", "7 days"):
        with pytest.raises(InputError, match="--for"):
            seconds(wrong)
