"""The sweep: every size, round after round, until it is steady and every worker was met.

Effects are the client's requests, the clock and the progress callback; what to send next and what
it means is decided by the pure modules.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .client import Answer
from .coverage import ANY, Coverage, Roster, Steer, Worker
from .figures import first_ttfts, round_figures
from .sizes import Size
from .steady import DEFAULT_RULE, Decision, Moved, RoundFigures, Rule, Steady

MAX_EXTRA_ROUNDS = 6
"""Rounds beyond a steady size that look for workers not met in it."""


class Sender(Protocol):
    """What the sweep needs of a client."""

    async def send(
        self,
        prompt_tokens: int,
        output_tokens: int,
        *,
        index: int = 0,
        steer: Steer = ANY,
        sampled: bool = False,
    ) -> Answer: ...


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

    def steady(self, figure: str, window: int) -> float | None:
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


async def sweep(
    sender: Sender,
    sizes: Sequence[Size],
    coverage: Coverage,
    *,
    rule: Rule = DEFAULT_RULE,
    time_limit: float = 3600.0,
    max_errors: int = 10,
    progress: Progress | None = None,
    refresh: Callable[[], Awaitable[Roster | None]] | None = None,
) -> SweepResult:
    """Run the sizes in order. ``time_limit`` is in seconds, over everything.

    It ends early when the time is over, when a whole round has failed (a wrong model or a
    frontend that is gone will not get better), or after ``max_errors`` failed requests.
    ``refresh`` gives the registered workers anew before each size, since one that was restarted
    has another id. Cancellation passes through.
    """
    result = SweepResult()
    tell = progress or (lambda _event: None)
    began = time.monotonic()
    deadline = began + time_limit
    tell(Began(tuple(sizes), coverage.roster.expected))
    for position, size in enumerate(sizes):
        if refresh is not None and position and (roster := await refresh()) is not None:
            coverage.update(roster)
        run = _SizeRun(sender, size, coverage, rule, deadline, max_errors, result, tell)
        run.position, run.of = position, len(sizes)
        await run.until_done()
        tell(SizeDone(run.outcome, position, len(sizes)))
        if result.stopped is not None:
            result.not_run = tuple(sizes[position + 1 :])
            break
    result.seconds = time.monotonic() - began
    return result


class _SizeRun:
    """One size on its way."""

    def __init__(
        self,
        sender: Sender,
        size: Size,
        coverage: Coverage,
        rule: Rule,
        deadline: float,
        max_errors: int,
        result: SweepResult,
        tell: Progress,
    ) -> None:
        self.sender, self.size, self.coverage, self.rule = sender, size, coverage, rule
        self.deadline, self.max_errors, self.result, self.tell = deadline, max_errors, result, tell
        self.outcome = SizeOutcome(size)
        self.steady = Steady(rule, self.outcome.rounds)
        self.position, self.of = 0, 1
        result.outcomes.append(self.outcome)

    async def until_done(self) -> None:
        for number in range(self.rule.max_rounds + MAX_EXTRA_ROUNDS):
            answers = await self._round(number)
            if answers is None:
                break
            decision = self._take(answers, number)
            if self.result.stopped is not None or self._over(decision):
                break
            if self.outcome.rounds[-1].errors:
                # This size cannot become warm any more; the others are still worth seeing.
                break
        self._close()

    def _over(self, decision: Decision) -> bool:
        """Steady is enough once everybody was met in two rounds: a worker met once has only its
        cold figure."""
        if decision is Decision.STEADY:
            rare = self.coverage.missing(self.size.key, rounds=2)
            # Looking on for a worker that is not registered would find nobody.
            return all(worker.instance_id is None for worker in rare)
        return decision is Decision.GIVE_UP

    async def _round(self, number: int) -> list[Answer] | None:
        """Send a round's requests, ``concurrency`` at a time. None when the time ran out in it."""
        count = requests_per_round(self.size, self.coverage.roster)
        steers = self.coverage.steer(self.size.key, count)
        answers: list[Answer] = []
        waiting = iter(range(count))

        async def lane() -> None:
            for index in waiting:
                answer = await self.sender.send(
                    self.size.prompt_tokens,
                    self.size.output_tokens,
                    index=index,
                    steer=steers[index],
                    # Every other request, and the other half in the next round.
                    sampled=bool((index + number) % 2),
                )
                self._note(answer)
                answers.append(answer)
                self.tell(RequestDone(self.size, number, len(answers), count, answer))

        lanes = [asyncio.ensure_future(lane()) for _ in range(min(self.size.concurrency, count))]
        try:
            left = self.deadline - time.monotonic()
            _, unfinished = await asyncio.wait(lanes, timeout=max(0.0, left))
        finally:
            for task in lanes:
                task.cancel()
            done = await asyncio.gather(*lanes, return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, Exception):
                raise outcome
        if unfinished:
            self.result.stopped = (
                f"time limit reached in {self.size.key}, round {number + 1}:"
                f" {len(answers)} of {count} requests had come back"
            )
            # What did come back was met and may have failed; as a round it says nothing.
            self._first(answers)
            self._met(answers)
            return None
        return sorted(answers, key=lambda a: a.index)

    def _note(self, answer: Answer) -> None:
        self.result.requests += 1
        if answer.error is not None:
            self.result.errors[answer.error] = self.result.errors.get(answer.error, 0) + 1
        elif answer.prompt_tokens:
            self.outcome.prompt_tokens = answer.prompt_tokens

    def _take(self, answers: list[Answer], number: int) -> Decision:
        self._met(answers)
        self._first(answers)
        figures = round_figures(answers, self.coverage)
        decision = self.steady.add(figures)
        failed = sum(self.result.errors.values())
        if figures.errors == figures.requests:
            self.result.stopped = f"all {figures.requests} requests of a round failed"
        elif failed >= self.max_errors:
            self.result.stopped = f"{failed} requests failed"
        missing = self.coverage.missing(self.size.key)
        self.tell(
            RoundDone(
                self.size,
                self.position,
                self.of,
                number,
                figures,
                decision,
                self.steady.moved(),
                missing,
            )
        )
        return decision

    def _met(self, answers: list[Answer]) -> None:
        self.coverage.met(self.size.key, [(a.prefill_id, a.decode_id) for a in answers if a.ok])

    def _first(self, answers: list[Answer]) -> None:
        for name, ttft in first_ttfts(answers, self.coverage, self.size.concurrency).items():
            self.outcome.first.setdefault(name, ttft)

    def _close(self) -> None:
        out = self.outcome
        out.moved = self.steady.moved()
        out.missing = self.coverage.missing(self.size.key)
        workers = (*self.coverage.roster.expected, *self.coverage.roster.extra)
        out.met_rounds = {w.name: self.coverage.rounds(self.size.key, w) for w in workers}
        if any(r.errors for r in out.rounds):
            out.state = "failed"
        elif self.result.stopped is not None:
            out.state = "cut short"
        elif out.missing:
            out.state = "not met"
        elif self.steady.decision() is Decision.STEADY:
            out.state = "warm"
        else:
            out.state = "not steady"


def requests_per_round(size: Size, roster: Roster) -> int:
    """At least one wave, at least three requests to take a median of, and at least one request
    for each worker of the larger role, so that an even router can meet them all in a round."""
    roles = [w.role for w in roster.expected]
    peers = max((roles.count(r) for r in set(roles)), default=1)
    waves = -(-max(3, peers) // size.concurrency)
    return size.concurrency * max(1, waves)
