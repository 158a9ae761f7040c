"""The links of a service: the runs of its name, as their folders and Slurm's queue tell. What to do next is pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher.run.find import look_up
from launcher.run.folder import Event, RunFolder
from launcher.run.history import History
from launcher.run.jobstate import JobState
from launcher.run.state import job_states

NEWEST = 16  # runs of a name that are looked at
AUTO_FACTOR, AUTO_MORE = 2.0, 120.0  # the next link is let go this many times its own time to warm, and seconds, ahead
FAILURES = 3  # next links in a row that ended before they were warm, after which each waits the longer
PAUSE = 60.0  # seconds between one that failed and the next, times the number of failures beyond FAILURES


@dataclass(frozen=True)
class Link:
    """A job of the service. `warm`: its sweep has ended so (or it has none and is ready), and it has not begun to end.
    `to_warm` is how many seconds that took; `held` that it waits for another job's failure."""

    run: RunFolder
    state: JobState
    warm: bool = False
    to_warm: float | None = None

    @property
    def number(self) -> int:
        return int(re.sub(r"\D", "", self.run.job_id) or 0)

    @property
    def living(self) -> bool:
        """One that Slurm cannot tell of (its controller is away) may live."""
        return not self.state.ended and not self.state.forgotten

    @property
    def held(self) -> bool:
        return self.state.waiting and "Dependency" in self.state.reason


def links(name: str, runs: Path, known: dict[RunFolder, JobState] | None = None) -> list[Link]:
    """The newest jobs of a service, in the order in which they were submitted. Slurm is asked, unless their states are
    `known`."""
    found = [run for run in look_up(runs).runs if run.name == name][-NEWEST:]
    found = [run for run in found if run.of_service]
    states = job_states(found) if known is None else [known.get(run, JobState("UNKNOWN")) for run in found]
    made = [link_of(run, state) for run, state in zip(found, states, strict=True)]
    return sorted(made, key=lambda link: link.number)


def link_of(run: RunFolder, state: JobState) -> Link:
    if state.ended:
        return Link(run, state)
    history = History.read(run, state)
    event = warm_event(run, history)
    to_warm = event.time - (history.began or event.time) if event else None
    return Link(run, state, event is not None and not history.leaving and run.endpoint() is not None, to_warm)


def warm_event(run: RunFolder, history: History) -> Event | None:
    """What says that a job became fit to serve: its sweep ended so, or, where it has none, that it is ready."""
    plan = run.plan_or_none()
    what = ("warm" if plan is None or plan.settings.requests_enabled else "ready", "done")
    return next((event for event in history.events if (event.stage, event.state) == what), None)


def is_leaving(run: RunFolder) -> bool:
    return run.endpoint() is None or History.read(run).leaving


def current(found: Sequence[Link]) -> Link | None:
    """The link that serves: the newest that is warm."""
    return next((link for link in reversed(found) if link.warm and link.living), None)


@dataclass(frozen=True)
class Step:
    """What a link does next: hand over to `link`, let go of `link` (which waits for this one's failure), submit one
    more, end because the service's time is over, drain because its own is (and let go of `link`), or nothing."""

    do: Literal["hand over", "let go", "submit", "end", "drain", "wait"]
    link: Link | None = None
    why: str = ""


def next_step(
    own: Link, later: Sequence[Link], now: float, ends: float, until: float, lead: float, drain: float = 0.0
) -> Step:
    """Pure. `later` are the links after `own`; `ends` is when Slurm ends this one, `until` when the service ends, both
    in seconds since the epoch. Seconds before its end: `lead` when the next one is let go, `drain` when it takes
    nothing new."""
    if now >= until:
        return Step("end", why="the service's time is over")
    if warm := current(later):
        return Step("hand over", warm)
    living = [link for link in later if link.living]
    if now >= ends - drain:
        held = next((link for link in living if link.held), None)
        return Step("drain", held, "its time is over, and no other job is warm")
    if not living:
        failed = len(later)
        if until <= ends:
            return Step("wait", why="this is the last link")
        if failed > FAILURES:
            last = later[-1].run.path.stat().st_mtime
            if now < last + PAUSE * (failed - FAILURES):
                return Step("wait", why=f"{failed} next links have ended before they were warm")
        return Step("submit")
    newest = living[-1]
    if newest.held and now >= ends - lead:
        return Step("let go", newest)
    return Step("wait", newest, str(newest.state))


def lead_of(own: Link, given: float | None, room: float = 0.0) -> float:
    """Seconds before a link's end at which the next one may start; `room` is how long Slurm would let it wait."""
    return given if given is not None else AUTO_FACTOR * (own.to_warm or 0.0) + AUTO_MORE + room
