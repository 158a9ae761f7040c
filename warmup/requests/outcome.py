"""What a sweep tells while it runs, and what it came to. Times in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .answer import Answer
from .coverage import Worker
from .rule import RoundFigures
from .sizes import Size
from .steady import Decision, Moved


@dataclass(frozen=True)
class Began:
    """Progress: the sweep starts. ``sizes`` in order, ``workers`` as far as they are known."""

    sizes: tuple[Size, ...]
    workers: tuple[Worker, ...]


@dataclass(frozen=True)
class RequestDone:
    """Progress: one request of a round came back."""

    size: Size
    round: int
    done: int
    of: int
    answer: Answer


@dataclass(frozen=True)
class RoundDone:
    """Progress: a round is over. ``missing`` are the workers this size has not met yet."""

    size: Size
    position: int
    of: int
    round: int
    figures: RoundFigures
    decision: Decision
    moved: tuple[Moved, ...]
    missing: tuple[Worker, ...]


@dataclass(frozen=True)
class SizeDone:
    """Progress: a size is finished."""

    outcome: SizeOutcome
    position: int
    of: int


Event = Began | RequestDone | RoundDone | SizeDone
Progress = Callable[[Event], None]


@dataclass
class SizeOutcome:
    """What one size came to. ``state`` is warm, not steady, not met, failed or cut short."""

    size: Size
    state: str = "cut short"
    rounds: list[RoundFigures] = field(default_factory=list)
    moved: tuple[Moved, ...] = ()
    missing: tuple[Worker, ...] = ()
    first: dict[str | None, float] = field(default_factory=dict)
    """Time to first token (seconds) at the first meeting; None stands for all workers."""
    met_rounds: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int | None = None
    """As the server counted them, which differs from the size where prompts are text."""

    def steady(self, figure: str, window: int = 3) -> float | None:
        """Median of a figure (seconds) over the last rounds that have it."""
        values = [r.values[figure] for r in self.rounds if figure in r.values][-window:]
        return sorted(values)[len(values) // 2] if values else None


@dataclass
class SweepResult:
    """All sizes begun, those not begun, and every distinct error with how often it came."""

    outcomes: list[SizeOutcome] = field(default_factory=list)
    not_run: tuple[Size, ...] = ()
    errors: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    seconds: float = 0.0
    stopped: str | None = None
    """Why the sweep ended before its last size, if it did."""

    def count(self, answers: Iterable[Answer]) -> None:
        """Note requests that came back, and the errors among them."""
        for answer in answers:
            self.requests += 1
            if answer.error is not None:
                self.errors[answer.error] = self.errors.get(answer.error, 0) + 1
