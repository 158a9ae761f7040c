"""The one word at the end, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .coverage import Worker
from .outcome import SweepResult
from .probe import Probed
from .rule import time_text

WARM, NOT_STEADY, FAILED = "warm", "not steady", "failed"

SHOWN = 5


@dataclass(frozen=True)
class Verdict:
    """``state`` is warm, not steady or failed; ``reasons`` is empty only when it is warm."""

    state: str
    reasons: tuple[str, ...] = ()

    @property
    def warm(self) -> bool:
        return self.state == WARM


def judge(result: SweepResult, unregistered: Sequence[Worker] = (), probed: Sequence[Probed] = ()) -> Verdict:
    """Any error, and any worker that could not be met, is a failure. Time running out is not:
    it is as not steady as figures that still move, or as a prompt in the last round of probes that was slow."""
    failures = [f"{error} ({_times(n)})" for error, n in result.errors.items()]
    more = len(failures) - SHOWN
    if more > 0:
        failures[SHOWN:] = [f"{more} other kinds of error"]
    failures += [f"{w.name} ({w.role}) is not registered" for w in unregistered]
    absent = {w.name for w in unregistered}
    unmet: dict[str, list[str]] = {}
    for outcome in result.outcomes:
        if outcome.state == "not met":
            for worker in (w for w in outcome.missing if w.name not in absent):
                unmet.setdefault(f"{worker.name} ({worker.role})", []).append(outcome.size.key)
    failures += [f"{name} answered no request at {_list(sizes)}" for name, sizes in unmet.items()]
    if not result.requests and not failures:
        failures.append(result.stopped or "no request was sent")
    if failures:
        return Verdict(FAILED, tuple(failures))

    open_points = [
        f"{outcome.size.key}: {moved}"
        for outcome in result.outcomes
        if outcome.state == "not steady"
        for moved in outcome.moved[:2]
    ]
    if result.stopped is not None:
        open_points.insert(0, result.stopped)
        if result.not_run:
            open_points.append(f"not run: {_list([s.key for s in result.not_run])}")
    last = max((p.turn for p in probed), default=0)
    open_points += [_probe_text(p) for p in probed if p.slow and p.turn == last][:SHOWN]
    if open_points:
        return Verdict(NOT_STEADY, tuple(open_points))
    return Verdict(WARM)


def _probe_text(probed: Probed) -> str:
    cached = f" ({probed.probe.cached_tokens} of them cached)" if probed.probe.cached_tokens else ""
    assert probed.ttft is not None
    return (
        f"probe of {probed.probe.prompt_tokens} tokens{cached}: first token after {time_text(probed.ttft)};"
        f" {time_text(probed.expected)} expected, {time_text(probed.allowed)} allowed"
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _list(words: Sequence[str]) -> str:
    shown = ", ".join(words[:SHOWN])
    return shown if len(words) <= SHOWN else f"{shown} and {len(words) - SHOWN} more"
