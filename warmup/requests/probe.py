"""After the sweep, prompts as no size of it had: does what was called warm hold for users?

What a prompt of some length should take is read off the sweep's sizes on both sides of it. Users'
prompts scatter, and of twenty one may be slow by chance; so a prompt counts as slow only when it
takes longer than ``Rule.probe`` allows and longer than chance explains, given how the requests of
the steady rounds scattered. A cold kernel takes ten times as long or more.

A prompt that was slow has warmed what it needed. So other prompts follow, and it once more, until a
round of them is quick: that round is the proof, and what was slow before it is in the report.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .answer import Answer
from .client import Client
from .coverage import AGGREGATED, PREFILL, Roster, Steer
from .limits import Limits
from .outcome import SizeOutcome, SweepResult
from .round import run_round
from .rule import Rule
from .sizes import Size
from .steady import beyond_chance, scatter_of

PROBES = 20
ROUNDS = 3
CACHED_SHARE = 0.3
"""Of the prompts, where there is a prefix cache."""
OUTPUT = 8


@dataclass(frozen=True)
class Probe:
    """One prompt to try. Lengths in tokens; ``cached`` of its prompt's first are known."""

    prompt_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True)
class Probed:
    """What it took, in seconds, against what the sweep lets expect. ``size`` is the key of the
    sweep's nearest size."""

    probe: Probe
    size: str
    ttft: float | None
    expected: float
    allowed: float
    counted: int | None = None
    turn: int = 1
    """The round of probes."""

    @property
    def slow(self) -> bool:
        return self.ttft is not None and self.ttft > self.allowed


@dataclass(frozen=True)
class Expectation:
    """What prompts take after the sweep. ``points`` are (tokens, seconds), rising in tokens;
    ``chance`` is the factor by which the slowest of a few prompts may exceed it by chance."""

    points: tuple[tuple[int, float], ...]
    chance: float
    rule: Rule

    def ttft(self, tokens: int) -> float:
        """Seconds to the first token, between two of the sweep's lengths in proportion."""
        below = [p for p in self.points if p[0] <= tokens] or [self.points[0]]
        above = [p for p in self.points if p[0] >= tokens] or [self.points[-1]]
        (low, fast), (high, slow) = below[-1], above[0]
        return fast if high <= low else fast + (slow - fast) * (tokens - low) / (high - low)

    def allowed(self, tokens: int) -> float:
        expected = self.ttft(tokens)
        return max(self.rule.probe.allowed(expected), expected * self.chance)


def plan_probes(
    sizes: Sequence[Size], limits: Limits, count: int = PROBES, before: Sequence[Probe] = ()
) -> tuple[Probe, ...]:
    """Up to ``count`` prompts between one token and the sweep's longest, none of a length that the
    sweep or the probes ``before`` had; the cached ones with prefixes that they did not have either."""
    longest = max((s.prompt_tokens for s in sizes), default=0)
    page = limits.page_size or 1
    taken = {*(s.prompt_tokens for s in sizes), *(p.prompt_tokens for p in before)}
    cached: list[Probe] = []
    if limits.prefix_cache is not False:
        had = {*(s.cached_tokens for s in sizes), *(p.cached_tokens for p in before)}
        for step, prefix in enumerate(_spaced(max(16, page), longest // 2, round(count * CACHED_SHARE), page, had)):
            length = prefix + 7 + 11 * step
            if length <= longest and length not in taken:
                taken.add(length)
                cached.append(Probe(length, prefix))
    return (*(Probe(n) for n in _spaced(2, longest, count - len(cached), 1, taken)), *cached)


def _spaced(low: int, high: int, count: int, step: int, without: set[int]) -> list[int]:
    """About ``count`` multiples of ``step``, evenly spaced on a logarithmic axis, none of
    ``without``."""
    found: list[int] = []
    for i in range(count):
        value = low * (max(high, low) / low) ** ((i + 0.5) / count)
        number = max(step, round(value / step) * step)
        while number in without or number in found:
            number += step
        if number <= high:
            found.append(number)
    return found


def expectation(outcomes: Sequence[SizeOutcome], rule: Rule, count: int = PROBES) -> Expectation | None:
    """What the sweep lets expect of a single prompt; None where it measured nothing.

    For each length the size with the fewest requests at once counts: a probe is alone.
    """
    alone: dict[int, SizeOutcome] = {}
    for outcome in outcomes:
        size = outcome.size
        if size.passing or size.cached_tokens or not outcome.steady("ttft", rule.window):
            continue
        known = alone.get(size.prompt_tokens)
        if known is None or size.concurrency < known.size.concurrency:
            alone[size.prompt_tokens] = outcome
    if not alone:
        return None
    samples = [_steady_samples(o) for o in alone.values()]
    samples = [s for s in samples if s]
    worst = max((max(s) / max(median(s), 1e-9) for s in samples), default=1.0)
    chance = max(worst, math.exp(scatter_of(samples) * beyond_chance(count)))
    points = sorted((n, o.steady("ttft", rule.window) or 0.0) for n, o in alone.items())
    return Expectation(tuple(points), chance, rule)


def _steady_samples(outcome: SizeOutcome) -> list[float]:
    """Times to the first token of the later half of a size's rounds, taken together: a round of a
    few requests alone says too little about their scatter."""
    half = outcome.rounds[-max(1, len(outcome.rounds) // 2) :]
    return [v for r in half for v in r.samples.get("slowest ttft", ())]


def nearest(probe: Probe, outcomes: Sequence[SizeOutcome]) -> str:
    """The key of the size that is most like a probe."""

    def distance(outcome: SizeOutcome) -> tuple[bool, float, int]:
        size = outcome.size
        unlike = size.passing or bool(size.cached_tokens) != bool(probe.cached_tokens)
        return unlike, abs(math.log(size.prompt_tokens / probe.prompt_tokens)), size.concurrency

    return min(outcomes, key=distance).size.key


async def run_probes(
    client: Client,
    probes: Sequence[Probe],
    result: SweepResult,
    roster: Roster,
    rule: Rule,
    deadline: float,
    turn: int = 1,
) -> tuple[Probed, ...]:
    """Send the probes, one to each prefill worker at a time; failures go to ``result``.

    Cached ones follow requests with the same beginnings, sent to the same workers as far as the
    router obeys. ``deadline`` is on the monotonic clock; it ends the probes early.
    """
    expected = expectation(result.outcomes, rule, len(probes))
    found: list[Probed] = []
    if expected is None:
        return ()
    side_by_side = max(1, sum(w.role in (PREFILL, AGGREGATED) for w in roster.expected))
    for begin in range(0, len(probes), side_by_side):
        if time.monotonic() >= deadline:
            result.stopped = f"time limit reached after {begin} of {len(probes)} probes"
            break
        wave = probes[begin : begin + side_by_side]
        if known := [p for p in wave if p.cached_tokens]:
            await _send(client, known, roster, deadline, result)
        for answer in await _send(client, wave, roster, deadline, result):
            probe = wave[answer.index]
            took, allowed = expected.ttft(probe.prompt_tokens), expected.allowed(probe.prompt_tokens)
            size = nearest(probe, result.outcomes)
            found.append(Probed(probe, size, answer.ttft, took, allowed, answer.prompt_tokens, turn))
    return tuple(found)


async def probe_until_quick(
    client: Client,
    sizes: Sequence[Size],
    limits: Limits,
    count: int,
    result: SweepResult,
    roster: Roster,
    rule: Rule,
    deadline: float,
) -> tuple[Probed, ...]:
    """All that was probed, in ``ROUNDS`` rounds at most: the last one is of ``count`` prompts that were new, and of
    those that were slow before it."""
    found: list[Probed] = []
    slow: list[Probe] = []
    for turn in range(1, ROUNDS + 1):
        probes = (*slow, *plan_probes(sizes, limits, count, [p.probe for p in found]))
        now = await run_probes(client, probes, result, roster, rule, deadline, turn)
        found += now
        slow = [p.probe for p in now if p.slow]
        if not slow or result.stopped is not None or result.errors:
            break
    return tuple(found)


async def _send(
    client: Client, wave: Sequence[Probe], roster: Roster, deadline: float, result: SweepResult
) -> list[Answer]:
    """The whole answers to probes sent at once, each to the next worker that prefills."""

    def turn(role: str, number: int) -> int | None:
        ids = [w.instance_id for w in roster.expected if w.role == role and w.instance_id is not None]
        return ids[number % len(ids)] if ids else None

    requests = [
        client.prepare(
            probe.prompt_tokens,
            OUTPUT,
            index=n,
            steer=Steer(prefill_id=turn(PREFILL, n), decode_id=turn(AGGREGATED, n)),
            sampled=bool(probe.prompt_tokens % 2),
            cached=probe.cached_tokens,
        )
        for n, probe in enumerate(wave)
    ]
    answers, _ = await run_round(client, requests, len(requests), deadline)
    result.count(answers)
    return [a for a in answers if a.ok]
