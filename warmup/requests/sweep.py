"""The sweep: every size, round after round, until it is steady and every worker was met.

Effects are the client's requests, the clock and the progress callback; what to send next and what
it means is decided by the pure modules.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from .answer import Answer
from .client import Client
from .coverage import Coverage, Roster
from .figures import first_ttfts, round_figures
from .outcome import Began, Progress, RequestDone, RoundDone, SizeDone, SizeOutcome, SweepResult
from .round import run_round
from .rule import DEFAULT_RULE, Rule
from .sizes import Size
from .steady import Decision, Steady

MAX_EXTRA_ROUNDS = 6
"""Rounds beyond a steady size that look for workers not met in it."""


async def sweep(
    client: Client,
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
        run = _SizeRun(client, size, coverage, rule, deadline, max_errors, result, tell)
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
        client: Client,
        size: Size,
        coverage: Coverage,
        rule: Rule,
        deadline: float,
        max_errors: int,
        result: SweepResult,
        tell: Progress,
    ) -> None:
        self.client, self.size, self.coverage, self.rule = client, size, coverage, rule
        self.deadline, self.max_errors, self.result, self.tell = deadline, max_errors, result, tell
        self.outcome = SizeOutcome(size)
        self.steady = Steady(rule, self.outcome.rounds, passing=size.passing)
        self.position, self.of = 0, 1
        result.outcomes.append(self.outcome)

    async def until_done(self) -> None:
        if self.size.cached_tokens:
            # Has every worker keep the prefix; what this round takes is that of uncached prompts.
            await self._round(-1)
            self._check_errors()
        for number in range(self.rule.max_rounds + MAX_EXTRA_ROUNDS):
            if self.result.stopped is not None:
                break
            answers = await self._round(number)
            if answers is None:
                break
            decision = self._take(answers, number)
            if self._over(decision):
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
        size = self.size
        count = requests_per_round(size, self.coverage.roster)
        steers = self.coverage.steer(size.key, count)
        requests = [
            self.client.prepare(
                size.prompt_tokens,
                size.output_of(index),
                index=index,
                steer=steers[index],
                # Every other request, and the other half in the next round.
                sampled=bool((index + number) % 2),
                cached=size.cached_tokens,
            )
            for index in range(count)
        ]
        answers, whole = await run_round(self.client, requests, size.concurrency, self.deadline)
        self.result.count(answers)
        for done, answer in enumerate(answers, 1):
            self.outcome.prompt_tokens = answer.prompt_tokens or self.outcome.prompt_tokens
            self.tell(RequestDone(size, max(0, number), done, count, answer))
        if whole:
            return answers
        self.result.stopped = (
            f"time limit reached in {size.key}, round {number + 1}: {len(answers)} of {count} requests had come back"
        )
        # What did come back was met and may have failed; as a round it says nothing.
        self._first(answers)
        self._met(answers)
        return None

    def _take(self, answers: list[Answer], number: int) -> Decision:
        self._met(answers)
        self._first(answers)
        figures = round_figures(answers, self.coverage)
        decision = self.steady.add(figures)
        if figures.errors == figures.requests:
            self.result.stopped = f"all {figures.requests} requests of a round failed"
        self._check_errors()
        missing = self.coverage.missing(self.size.key)
        self.tell(RoundDone(self.size, self.position, self.of, number, figures, decision, self.steady.moved(), missing))
        return decision

    def _check_errors(self) -> None:
        failed = sum(self.result.errors.values())
        if failed >= self.max_errors and self.result.stopped is None:
            self.result.stopped = f"{failed} requests failed"

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
    if size.levels:
        return size.concurrency
    roles = [w.role for w in roster.expected]
    peers = max((roles.count(r) for r in set(roles)), default=1)
    waves = -(-max(3, peers) // size.concurrency)
    return size.concurrency * max(1, waves)
