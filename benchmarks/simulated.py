"""Deployments that exist as numbers only: what the rule makes of their rounds, trial after trial."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from warmup.requests.answer import Answer
from warmup.requests.coverage import Coverage, Instance, make_roster
from warmup.requests.figures import round_figures
from warmup.requests.outcome import SizeOutcome
from warmup.requests.probe import expectation
from warmup.requests.rule import DEFAULT_RULE, Rule
from warmup.requests.sizes import Size
from warmup.requests.steady import Decision, Steady

END, ITL = 0.2, 0.02  # seconds: where the time to first token ends, and between tokens


@dataclass(frozen=True)
class Deployment:
    """``above`` is the first round's distance to the end, as a fraction of it (1.0: twice as slow).
    Each round leaves ``stays`` of it, or, ``whole``, takes ``1 - stays`` of the whole time until
    the end is reached. ``jitter``: standard deviation of a request's logarithm. ``cold`` workers
    take three times as long for ever."""

    workers: int = 50
    requests: int = 50
    jitter: float = 0.3
    above: float = 0.0
    stays: float = 0.9
    whole: bool = False
    cold: int = 0

    def levels(self) -> Iterator[float]:
        """Distance to the end, round by round."""
        above = self.above
        while True:
            yield above
            above = max(0.0, (1 + above) * self.stays - 1) if self.whole else above * self.stays


def swept(deployment: Deployment, seed: int, rule: Rule = DEFAULT_RULE) -> tuple[Steady, float]:
    """Rounds until the rule has decided, and how far above its end the deployment was by then (as
    a fraction)."""
    chance = random.Random(seed)
    count = deployment.workers
    coverage = Coverage(
        make_roster(
            None,
            [Instance(n, "prefill") for n in range(count)]
            + [Instance(n, "backend") for n in range(1000, 1000 + count)],
        )
    )
    state = Steady(rule)
    for above in deployment.levels():
        pairs = zip(chance.sample(range(count), count), chance.sample(range(count), count), strict=True)
        turns = list(pairs) * -(-deployment.requests // count)
        answers = []
        for index, (prefill, decode) in enumerate(turns[: deployment.requests]):
            slow = 3.0 if prefill < deployment.cold else 1.0
            ttft = END * (1 + above) * slow * math.exp(chance.gauss(0, deployment.jitter))
            itl = ITL * math.exp(chance.gauss(0, deployment.jitter))
            answers.append(Answer(index, 200, None, ttft, itl, 1.5 * itl, prefill_id=prefill, decode_id=1000 + decode))
        decision = state.add(round_figures(answers, coverage))
        if decision is not Decision.MORE:
            return state, above
    raise AssertionError("levels never end")


def trial(deployment: Deployment, seed: int, rule: Rule = DEFAULT_RULE) -> tuple[bool, float, int]:
    """Whether the rule said warm, how far above its end the deployment was by then (as a
    fraction), and after how many rounds."""
    state, above = swept(deployment, seed, rule)
    return state.decision() is Decision.STEADY, above, len(state.rounds)


def probe_trial(deployment: Deployment, seed: int, cold: float = 0.0) -> bool:
    """Whether one of twenty prompts after a sweep of six lengths was called slow: all are as the
    deployment's requests are, but for one that takes ``cold`` seconds longer."""
    lengths = (1, 48, 1000, 4000, 8000, 16000)
    outcomes = [
        SizeOutcome(Size(tokens, 1, 8), "warm", swept(deployment, 1000 * seed + tokens)[0].rounds) for tokens in lengths
    ]
    expected = expectation(outcomes, DEFAULT_RULE)
    assert expected is not None
    chance = random.Random(seed)
    took = [END * math.exp(chance.gauss(0, deployment.jitter)) for _ in range(20)]
    took[0] += cold
    return any(ttft > expected.allowed(500 * n + 2) for n, ttft in enumerate(took))
