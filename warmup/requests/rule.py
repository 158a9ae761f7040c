"""What steady means, in numbers, and the figures that it is said of. Times in seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean


@dataclass(frozen=True)
class Bound:
    """How far apart two values may lie: ``tolerance`` as a fraction, or ``floor`` in seconds."""

    tolerance: float
    floor: float

    def allowed(self, usual: float) -> float:
        """The largest value, in seconds, that still counts as the usual one."""
        return max(usual * (1 + self.tolerance), usual + self.floor)

    def __str__(self) -> str:
        return f"{self.tolerance:.0%} or {self.floor * 1000:g} ms"


@dataclass(frozen=True)
class Rule:
    """What steady means. Every number here is shown in the report."""

    window: int = 3
    """Fewest rounds of a window; two windows are compared, so twice as many are run."""
    memory: int = 24
    """Most rounds looked back at, both windows together."""
    max_rounds: int = 36
    """Rounds after which a size is given up as not steady."""
    ttft: Bound = Bound(0.20, 0.005)
    itl: Bound = Bound(0.20, 0.002)
    slowest: Bound = Bound(1.0, 0.250)
    """For the slowest first token of a round and the longest pause inside an answer."""
    worker_ttft: Bound = Bound(0.5, 0.050)
    """For a worker against its peers."""
    worker_itl: Bound = Bound(0.5, 0.010)
    probe: Bound = Bound(0.5, 0.050)
    """For one prompt after the sweep against what one of its length takes."""
    pace: float = 0.9
    """What is left, after one round, of the distance to the end: the slowest wearing off that is
    told from an end. A slower one is not."""
    confidence: float = 0.99
    """Of one look at a trend; all looks at a size together keep below 5 % of wrong ones."""

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"window: {self.window} rounds cannot be compared; give 2 or more")
        if self.memory < 2 * self.window:
            raise ValueError(f"memory: {self.memory} rounds do not hold two windows of {self.window} rounds")
        if self.max_rounds < 2 * self.window:
            raise ValueError(f"max_rounds: {self.max_rounds} is below two windows of {self.window} rounds")

    def bound(self, figure: str) -> Bound:
        """The bound for a figure's name, as RoundFigures spells it."""
        kind, _, worker = figure.partition("@")
        if worker:
            return self.worker_ttft if kind == "ttft" else self.worker_itl
        if kind in ("slowest ttft", "longest pause"):
            return self.slowest
        return self.ttft if kind == "ttft" else self.itl

    def step(self, tolerance: float, window: int) -> float:
        """How far, in the logarithm, a window lies below the one before it when its last round is
        still ``tolerance`` above the end."""
        above = tolerance * fmean(self.pace**-k for k in range(window))
        return math.log1p(above * self.pace**-window) - math.log1p(above)


DEFAULT_RULE = Rule()
MOST_PASSES = 4
"""Rounds of a size that is run to have been met: one meets everything, the next shows it."""


@dataclass(frozen=True)
class RoundFigures:
    """One round's figures in seconds, by name.

    Names: ``ttft`` and ``itl`` (medians over the round's requests), ``slowest ttft``, ``longest
    pause``, and ``ttft@WORKER``, ``itl@WORKER`` for the workers that answered in this round.
    ``errors`` counts the requests that did not come back whole. ``samples`` are the single
    requests' values behind ``slowest ttft`` and ``longest pause``; ``roles`` the workers' roles.
    """

    values: Mapping[str, float]
    requests: int
    errors: int = 0
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)


def time_text(seconds: float | None) -> str:
    """A time in at most seven characters: ``0.45ms``, ``87ms``, ``1.25s``, ``136s``."""
    if seconds is None:
        return "-"
    if seconds < 0.01:
        return f"{seconds * 1000:.2f}ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.2f}s" if seconds < 100 else f"{seconds:.0f}s"
