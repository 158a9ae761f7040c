"""Load points: how many requests at once (or a second), of which lengths."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.base.errors import InputError

FEWEST = 32
"""Requests of a point at least: fewer say nothing about a p90."""
ROUNDS = 6
"""Requests of a point for each that is in flight."""


@dataclass(frozen=True)
class Point:
    """One load. Lengths are in tokens; `rate` is in requests a second, else `concurrency` are kept in flight.

    `spread` is the standard deviation of both lengths as a share of them; 0: all are the same. With `trace`, a file of
    requests with times, lengths and load are the file's. `variant` names the deployment where there are several.
    """

    concurrency: int | None = None
    rate: float | None = None
    prompt_tokens: int = 1024
    output_tokens: int = 128
    spread: float = 0.0
    requests: int = 0
    trace: str | None = None
    variant: str = ""

    @property
    def key(self) -> str:
        """A short name, good for a folder: `c16-i1024-o128`."""
        load = f"c{self.concurrency}" if self.rate is None else f"r{self.rate:g}"
        name = "trace" if self.trace else f"{load}-i{self.prompt_tokens}-o{self.output_tokens}"
        return f"{self.variant} {name}" if self.variant else name

    @property
    def load(self) -> str:
        if self.trace:
            return "trace"
        return f"{self.concurrency}" if self.rate is None else f"{self.rate:g}/s"

    @property
    def lengths(self) -> str:
        """Tokens in and out, `1024>128`."""
        return "as in it" if self.trace else f"{self.prompt_tokens}>{self.output_tokens}"

    @property
    def fixed_output(self) -> int | None:
        """Tokens that every answer must have; None where they differ."""
        return None if self.trace or self.spread else self.output_tokens


def of_trace(file: Path) -> Point:
    """A request for each line of a Mooncake trace. Raises InputError for one that has none, or other lines."""
    lines = [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        try:
            good = {"timestamp", "output_length"} <= set(json.loads(line))
        except (ValueError, TypeError):
            good = False
        if not good:
            raise InputError(
                f"{file}:{number}: this is no line of a Mooncake trace, which looks like "
                '{"timestamp": MILLISECONDS, "input_length": TOKENS, "output_length": TOKENS, "hash_ids": [1, 2]}'
            )
    if not lines:
        raise InputError(f"{file} is empty: --trace needs a line for each request")
    return Point(prompt_tokens=0, output_tokens=0, requests=len(lines), trace=str(file))


def grid(
    concurrencies: Sequence[int], rates: Sequence[float], prompts: Sequence[int], outputs: Sequence[int],
    spread: float = 0.0, requests: int | None = None,
) -> list[Point]:  # fmt: skip
    """Every load with every pair of lengths, small before large. `requests`: of each point, by default ROUNDS for each
    in flight (or for 10 s of a rate), FEWEST at least."""
    loads: list[tuple[int | None, float | None]] = [(c, None) for c in sorted(set(concurrencies))]
    loads += [(None, r) for r in sorted(set(rates))]
    found = []
    for prompt, output, (concurrency, rate) in itertools.product(sorted(set(prompts)), sorted(set(outputs)), loads):
        usual = max(FEWEST, ROUNDS * concurrency if concurrency else round(10 * (rate or 0)))
        found.append(Point(concurrency, rate, prompt, output, spread, requests or usual))
    return found
