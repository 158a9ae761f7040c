"""The outcome as data: what is shown, and the JSON that machines read.

The JSON's shape is stable: within ``"version": 1`` keys are added, never changed or removed. Times
are in seconds, lengths in tokens, null where a figure was not measured.

    version         1
    address         base URL that was called
    model           name that was asked for, null if none could be found out
    server          "dynamo", "sglang", "openai", or null if nothing answered
    verdict         "warm" | "not steady" | "failed"
    reasons         list of strings, empty when warm
    started         UTC time, ISO 8601
    seconds         of the sweep
    requests        number sent
    errors          list of {"error", "count"}, in the order they first came
    notes           list of strings: what was left out or could not be told
    workers_told_apart  true | false | null (no answer came)
    workers         list of {"name", "role", "instance_id" (decimal string or null), "address",
                    "expected", "registered"}
    rule            {"window", "memory", "max_rounds", "pace", "confidence", and for each of "ttft",
                    "itl", "slowest", "worker_ttft", "worker_itl", "probe":
                    {"tolerance" (fraction), "floor"}}
    limits          what the sizes were computed from, as limits.Limits names it
    probes          list of {"prompt_tokens", "cached_tokens", "counted_prompt_tokens", "size" (the
                    most like it), "ttft", "expected_ttft", "allowed_ttft", "slow",
                    "round"}
    sizes           list of {"size", "prompt_tokens", "cached_tokens", "concurrency",
                    "output_tokens" (of the longest answer), "ramp",
                    "counted_prompt_tokens", "state" ("warm" | "not steady" | "not met" | "failed"
                    | "cut short" | "not run"), "rounds" (count), "first_ttft", "steady_ttft",
                    "probe_ttft" (the slowest of its probes), "steady_itl",
                    "moved": [{"figure", "best", "last", "allowed", "text"}],
                    "not_met": [names], "history": [{"requests", "errors", figures by name}],
                    "workers": [{"name", "role", "rounds", "first_ttft", "steady_ttft",
                    "steady_itl"}]}

An instance id is a string because it may need 64 bits, which JSON readers cut.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from .coverage import Roster, Worker
from .limits import Limits
from .outcome import SizeOutcome, SweepResult
from .probe import Probed
from .rule import Rule
from .verdict import Verdict

VERSION = 1


@dataclass(frozen=True)
class Report:
    """Everything a run of the sweep found out. ``seconds`` and figures in seconds."""

    address: str
    model: str | None
    server: str | None
    verdict: Verdict
    started: str
    result: SweepResult = field(default_factory=SweepResult)
    roster: Roster = field(default_factory=lambda: Roster(()))
    told_apart: bool | None = None
    rule: Rule = field(default_factory=Rule)
    limits: Limits = field(default_factory=Limits)
    notes: tuple[str, ...] = ()
    probed: tuple[Probed, ...] = ()

    @property
    def workers(self) -> tuple[Worker, ...]:
        return (*self.roster.expected, *self.roster.extra)

    def probe_ttft(self, size: str) -> float | None:
        """Seconds to the first token of the slowest probe that is most like a size, by its key."""
        return max((p.ttft for p in self.probed if p.size == size and p.ttft is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object described in this module's docstring."""
        result = self.result
        sizes = [self._size(o) for o in result.outcomes]
        sizes += [self._size(SizeOutcome(s, state="not run")) for s in result.not_run]
        return {
            "version": VERSION,
            "address": self.address,
            "model": self.model,
            "server": self.server,
            "verdict": self.verdict.state,
            "reasons": list(self.verdict.reasons),
            "started": self.started,
            "seconds": round(result.seconds, 3),
            "requests": result.requests,
            "errors": [{"error": e, "count": n} for e, n in result.errors.items()],
            "notes": list(self.notes),
            "workers_told_apart": self.told_apart,
            "workers": [self._worker(w) for w in self.workers],
            "rule": asdict(self.rule),
            "limits": {**asdict(self.limits), "cuda_graph_bs": list(self.limits.cuda_graph_bs)},
            "probes": [
                {
                    "prompt_tokens": p.probe.prompt_tokens,
                    "cached_tokens": p.probe.cached_tokens,
                    "counted_prompt_tokens": p.counted,
                    "size": p.size,
                    "ttft": _short(p.ttft),
                    "expected_ttft": _short(p.expected),
                    "allowed_ttft": _short(p.allowed),
                    "slow": p.slow,
                    "round": p.turn,
                }
                for p in self.probed
            ],
            "sizes": sizes,
        }

    def to_json(self) -> str:
        """``to_dict`` as indented JSON, ending in a newline."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def _worker(self, worker: Worker) -> dict[str, Any]:
        number = worker.instance_id
        return {
            "name": worker.name,
            "role": worker.role,
            "instance_id": None if number is None else str(number),
            "address": worker.address,
            "expected": worker in self.roster.expected,
            "registered": number is not None,
        }

    def _size(self, outcome: SizeOutcome) -> dict[str, Any]:
        window = self.rule.window
        size = outcome.size
        return {
            "size": size.key,
            "prompt_tokens": size.prompt_tokens,
            "cached_tokens": size.cached_tokens,
            "concurrency": size.concurrency,
            "output_tokens": size.output_tokens,
            "ramp": bool(size.levels),
            "counted_prompt_tokens": outcome.prompt_tokens,
            "state": outcome.state,
            "rounds": len(outcome.rounds),
            "first_ttft": _short(outcome.first.get(None)),
            "steady_ttft": _short(outcome.steady("ttft", window)),
            "probe_ttft": _short(self.probe_ttft(size.key)),
            "steady_itl": _short(outcome.steady("itl", window)),
            "moved": [
                {
                    "figure": m.figure,
                    "best": _short(m.best),
                    "last": _short(m.worst_of_last),
                    "allowed": _short(m.allowed),
                    "text": str(m),
                }
                for m in outcome.moved
            ],
            "not_met": [w.name for w in outcome.missing],
            "history": [
                {
                    "requests": r.requests,
                    "errors": r.errors,
                    **{name: _short(value) for name, value in r.values.items()},
                }
                for r in outcome.rounds
            ],
            "workers": [
                {
                    "name": worker.name,
                    "role": worker.role,
                    "rounds": outcome.met_rounds.get(worker.name, 0),
                    "first_ttft": _short(outcome.first.get(worker.name)),
                    "steady_ttft": _short(outcome.steady(f"ttft@{worker.name}", window)),
                    "steady_itl": _short(outcome.steady(f"itl@{worker.name}", window)),
                }
                for worker in self.workers
            ],
        }


def _short(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
