"""When a size is warm: rounds are repeated until nothing gets faster or slower any more.

Pure: a round's figures go in, a decision comes out. A figure is steady when its last few values
all lie within a tolerance of the best of its recent values (twice as many). Older ones do not count:
the first round's requests may happen to arrive well spread, which later rounds never match, and that
is no sign of a cold deployment. Medians are compared, so one
odd request does not matter; the slowest request and the longest pause are compared as well, with
a wider tolerance, so that a compilation that stalls one request in many does not hide behind the
median. Below an absolute floor differences do not count: 3 ms against 2 ms is no cold start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class Bound:
    """How far above its best a value may lie: ``max(best * (1 + tolerance), best + floor)``.

    ``tolerance`` is a fraction, ``floor`` is in seconds.
    """

    tolerance: float
    floor: float

    def allowed(self, best: float) -> float:
        """The largest value, in seconds, that still counts as the best one."""
        return max(best * (1 + self.tolerance), best + self.floor)

    def __str__(self) -> str:
        return f"{self.tolerance:.0%} or {self.floor * 1000:g} ms"


@dataclass(frozen=True)
class Rule:
    """What steady means. Every number here is shown in the report."""

    window: int = 3
    """Rounds in a row that must agree, so also the fewest rounds run."""
    memory: int = 6
    """Rounds among which the best is looked for: the window and as many before it."""
    max_rounds: int = 12
    """Rounds after which a size is given up as not steady."""
    ttft: Bound = Bound(0.25, 0.020)
    itl: Bound = Bound(0.25, 0.005)
    slowest: Bound = Bound(1.0, 0.250)
    """For the slowest first token of a round and the longest pause inside an answer."""
    worker_ttft: Bound = Bound(0.5, 0.050)
    """A worker's share of a round is a few requests, so its median moves more."""
    worker_itl: Bound = Bound(0.5, 0.010)

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"window: {self.window} rounds cannot be compared; give 2 or more")
        if self.memory < self.window:
            raise ValueError(f"memory: {self.memory} is below the window of {self.window} rounds")
        if self.max_rounds < self.window:
            raise ValueError(f"max_rounds: {self.max_rounds} is below the window of {self.window} rounds")

    def bound(self, figure: str) -> Bound:
        """The bound for a figure's name, as RoundFigures spells it."""
        kind, _, worker = figure.partition("@")
        if worker:
            return self.worker_ttft if kind == "ttft" else self.worker_itl
        if kind in ("slowest ttft", "longest pause"):
            return self.slowest
        return self.ttft if kind == "ttft" else self.itl


DEFAULT_RULE = Rule()


@dataclass(frozen=True)
class RoundFigures:
    """One round's figures in seconds, by name.

    Names: ``ttft`` and ``itl`` (medians over the round's requests), ``slowest ttft``, ``longest
    pause``, and ``ttft@WORKER``, ``itl@WORKER`` for the workers that answered in this round.
    ``errors`` counts the requests that did not come back whole.
    """

    values: Mapping[str, float]
    requests: int
    errors: int = 0


class Decision(Enum):
    """What to do after a round."""

    MORE = "more"
    STEADY = "steady"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Moved:
    """A figure that is not steady: its last values against its best one, in seconds."""

    figure: str
    best: float
    worst_of_last: float
    allowed: float

    def __str__(self) -> str:
        return (
            f"{self.figure}: {_ms(self.worst_of_last)} in the last rounds,"
            f" best {_ms(self.best)}, allowed {_ms(self.allowed)}"
        )


@dataclass
class Steady:
    """The state of one size: feed it rounds, read the decision."""

    rule: Rule = field(default_factory=Rule)
    rounds: list[RoundFigures] = field(default_factory=list)

    def add(self, figures: RoundFigures) -> Decision:
        """Take a finished round and say whether to go on."""
        self.rounds.append(figures)
        return self.decision()

    def decision(self) -> Decision:
        if len(self.rounds) >= self.rule.window and not self.moved() and self._clean():
            return Decision.STEADY
        if len(self.rounds) >= self.rule.max_rounds:
            return Decision.GIVE_UP
        return Decision.MORE

    def moved(self) -> tuple[Moved, ...]:
        """What keeps this size from being steady, the largest ratio first.

        Empty when it is steady and also before there are rounds enough to tell.
        """
        if len(self.rounds) < self.rule.window:
            return ()
        found = []
        for figure in self._figures():
            values = [r.values[figure] for r in self.rounds if figure in r.values][-self.rule.memory :]
            best = min(values)
            # A worker is not in every round, so its window is over the rounds it was in.
            last = max(values[-self._window(figure, len(values)) :])
            allowed = self.rule.bound(figure).allowed(best)
            if last > allowed:
                found.append(Moved(figure, best, last, allowed))
        return tuple(sorted(found, key=lambda m: m.worst_of_last / max(m.best, 1e-9), reverse=True))

    def _window(self, figure: str, count: int) -> int:
        if "@" not in figure:
            return self.rule.window
        # Met twice only: the later value is the one that must agree with the best. Otherwise a
        # worker's cold first answer would keep it in the window for as long as it is rarely met.
        return max(1, min(self.rule.window, count - 1))

    def _figures(self) -> Sequence[str]:
        return list(dict.fromkeys(name for r in self.rounds for name in r.values))

    def _clean(self) -> bool:
        return all(r.errors == 0 for r in self.rounds[-self.rule.window :])


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
