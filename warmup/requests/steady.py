"""When a size is warm: rounds are repeated until nothing gets faster or slower any more.

Pure: a round's figures go in, a decision comes out. Four questions are asked of the last rounds.

Trend: has the median over all requests come to its end? A cold start wears off: what is above the
end shrinks from round to round. If it shrinks by ``pace`` and is still ``tolerance`` above its
end, the rounds of one window lie a known step below those of the window before. The figure is
steady once that step can be ruled out, either way, at ``confidence``: the difference of the two
windows, with the error that the scatter of the rounds gives it, must be smaller. Where figures
scatter more, windows grow until they tell. One odd round does not matter; neither do differences
below an absolute floor: 3 ms against 2 ms is no cold start.

Stalls: did a request wait far longer than the others (a compilation that one in many meets hides
behind the median)? How far is usual is read off the requests' own scatter and their number.

Workers: is one slower than its peers by more than chance, among so many of them, explains?

Errors: a round with an error never counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import NormalDist, fmean, median

from .rule import MOST_PASSES, RoundFigures, Rule, time_text


class Decision(Enum):
    """What to do after a round."""

    MORE = "more"
    STEADY = "steady"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Moved:
    """A figure that is not steady, in seconds: ``worst_of_last`` is what it is, ``best`` what it is
    held against (``against`` says what that is), ``allowed`` what it might be."""

    figure: str
    best: float
    worst_of_last: float
    allowed: float
    against: str = "the rounds before"

    def __str__(self) -> str:
        return (
            f"{self.figure}: {time_text(self.worst_of_last)} against {time_text(self.best)} of {self.against},"
            f" allowed {time_text(self.allowed)}"
        )


@dataclass
class Steady:
    """The state of one size: feed it rounds, read the decision.

    ``passing`` is for a size that is run to have been met: its rounds are not compared, and it is
    steady when the last one had no stall.
    """

    rule: Rule = field(default_factory=Rule)
    rounds: list[RoundFigures] = field(default_factory=list)
    passing: bool = False
    _looked: int = -1
    _moved: tuple[Moved, ...] = ()

    def add(self, figures: RoundFigures) -> Decision:
        """Take a finished round and say whether to go on."""
        self.rounds.append(figures)
        return self.decision()

    def decision(self) -> Decision:
        if len(self.rounds) >= self._fewest and not self.moved() and self._clean():
            return Decision.STEADY
        most = MOST_PASSES if self.passing else self.rule.max_rounds
        return Decision.GIVE_UP if len(self.rounds) >= most else Decision.MORE

    def moved(self) -> tuple[Moved, ...]:
        """What keeps this size from being steady, the largest ratio first.

        Empty when it is steady and also before there are rounds enough to tell.
        """
        if self._looked != len(self.rounds):
            self._looked = len(self.rounds)
            self._moved = self._look() if len(self.rounds) >= self._fewest else ()
        return self._moved

    @property
    def _fewest(self) -> int:
        return 2 if self.passing else 2 * self.rule.window

    def _look(self) -> tuple[Moved, ...]:
        found = [stall(name, self._samples(name), self.rule) for name in ("slowest ttft", "longest pause")]
        if not self.passing:
            found += [trend(name, self._values(name), self.rule) for name in ("ttft", "itl")]
        if not any(found) and not self.passing:  # costs the most, and says nothing while all are moving
            found += slow_workers(self.rounds, self.rule)
        return tuple(sorted((m for m in found if m), key=lambda m: m.worst_of_last / max(m.best, 1e-9), reverse=True))

    def _values(self, figure: str) -> list[float]:
        return [r.values[figure] for r in self.rounds if figure in r.values][-self.rule.memory :]

    def _samples(self, figure: str) -> list[Sequence[float]]:
        found = [r.samples[figure] for r in self.rounds if r.samples.get(figure)]
        return found[-1:] if self.passing else found[-2 * self.rule.window :]

    def _clean(self) -> bool:
        return all(r.errors == 0 for r in self.rounds[-self._fewest :])


def trend(figure: str, values: Sequence[float], rule: Rule) -> Moved | None:
    """Whether a figure may still be on its way: None once it cannot. ``values`` in seconds, one a
    round, oldest first."""
    bound = rule.bound(figure)
    found: Moved | None = None
    for window in range(rule.window, len(values) // 2 + 1):
        both = values[-2 * window :]
        # below the floor nothing moves: 0.2 ms against 0.01 ms would else be too uneven for ever
        before, last = ([math.log(max(v, bound.floor, 1e-9)) for v in part] for part in (both[:window], both[-window:]))
        difference = abs(fmean(before) - fmean(last))
        scatter = sum((v - fmean(part)) ** 2 for part in (before, last) for v in part)
        freedom = 2 * window - 2
        error = math.sqrt(scatter / freedom * 2 / window) * student(rule.confidence, freedom)
        was, now = math.exp(fmean(before)), math.exp(fmean(last))
        step = max(rule.step(bound.tolerance, window), math.log1p(bound.floor / now))
        if difference + error < step:
            return None
        low, high = min(was, now), max(was, now)
        against = f"the {window} rounds before" + (" (still falling)" if now < was else "")
        if difference < error:
            against += "; too uneven to tell"
        # Said of the rounds as they lie in time where it gets slower, the other way round where
        # it gets faster: the larger of the two is what has to go.
        found = Moved(figure, low, high, low * math.exp(max(0.0, step - error)), against)
    return found


def stall(figure: str, samples: Sequence[Sequence[float]], rule: Rule) -> Moved | None:
    """Whether a request of the last rounds took far longer than is usual among them."""
    last = samples[-rule.window :]
    if not last or max(map(len, last)) < 2:
        return None
    usual = median(median(s) for s in last)
    worst = max(map(max, last))
    bound = rule.bound(figure)
    if worst <= bound.allowed(usual):
        return None
    allowed = max(bound.allowed(usual), usual * math.exp(scatter_of(samples) * beyond_chance(sum(map(len, last)))))
    return Moved(figure, usual, worst, allowed, "the usual request") if worst > allowed else None


def slow_workers(rounds: Sequence[RoundFigures], rule: Rule) -> list[Moved]:
    """Workers slower than their peers of the same role by more than chance explains.

    The later half of a worker's values is held against the median of its peers in the same rounds.
    What chance does is read off the scatter of the workers' values around their own medians; among
    a hundred workers one is bound to be the slowest, so the limit rises with their number.
    """
    recent = rounds[-rule.memory :]
    found = []
    for kind in ("ttft", "itl"):
        by_role: dict[str, dict[str, list[float]]] = {}
        typical: dict[str, list[float]] = {}
        for each in recent:
            groups: dict[str, dict[str, float]] = {}
            for name, value in each.values.items():
                what, _, worker = name.partition("@")
                if worker and what == kind:
                    groups.setdefault(each.roles.get(worker, ""), {})[worker] = math.log(max(value, 1e-9))
            for role, logs in groups.items():
                middle = median(logs.values())
                typical.setdefault(role, []).append(middle)
                for worker, value in logs.items():
                    # With a few peers the middle is moved by the worker itself.
                    peers = [v for w, v in logs.items() if w != worker] if len(logs) < 8 else [middle]
                    if peers:
                        by_role.setdefault(role, {}).setdefault(worker, []).append(value - median(peers))
        for role, workers in by_role.items():
            found += _above_peers(kind, workers, math.exp(median(typical[role])), rule)
    return found


def _above_peers(kind: str, workers: Mapping[str, list[float]], usual: float, rule: Rule) -> list[Moved]:
    off = [v - median(values) for values in workers.values() if len(values) > 2 for v in values]
    # Values lie closer to their own median than to the true middle: by sqrt(1 - 1/n) and a bit.
    noise = 1.25 * _robust(off) if off else 0.0
    limit = beyond_chance(len(workers))
    found = []
    for worker, values in workers.items():
        # Met twice only: the later value is the one that counts. Otherwise a worker's cold first
        # answer would be held against it for as long as it is rarely met.
        last = values[-max(1, len(values) // 2) :]
        bound = rule.bound(f"{kind}@{worker}")
        allowed = max(bound.allowed(usual), usual * math.exp(noise * limit / math.sqrt(len(last))))
        level = usual * math.exp(fmean(last))
        if level > allowed:
            found.append(Moved(f"{kind}@{worker}", usual, level, allowed, "its peers"))
    return found


def scatter_of(samples: Sequence[Sequence[float]]) -> float:
    """How far a request lies off its round's median as a rule: the standard deviation of the
    logarithm, from the median deviation, so that a few stalled ones do not count."""
    off = []
    for each in samples:
        middle = median(each)
        off += [math.log(max(v, 1e-9) / max(middle, 1e-9)) for v in each]
    return _robust(off)


def beyond_chance(count: int) -> float:
    """Standard deviations that none of ``count`` values exceeds, 999 times in 1,000."""
    return NormalDist().inv_cdf(1 - 0.001 / max(1, count))


def student(confidence: float, freedom: int) -> float:
    """Student's t, one-sided; Cornish and Fisher's expansion, within 2 % from 4 degrees on."""
    z = NormalDist().inv_cdf(confidence)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _robust(off: Sequence[float]) -> float:
    return 1.4826 * median(map(abs, off)) if off else 0.0
