"""The batch sizes (M) that a given SGLang version sweeps for every DeepGEMM shape.

SGLang compiles by running a shape at every M of one list. The list follows from the version, the
chunked-prefill size of one data-parallel rank, and whether the fast warm-up is on. The numbers
live in data/sglang.json, so that a new SGLang version is a new entry and no new code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

Range = tuple[int, int, int]  # first, last (included), step


@dataclass(frozen=True)
class Sweep:
    """A set of M values as ranges: short in a manifest, and exact."""

    ranges: tuple[Range, ...]

    def __iter__(self) -> Iterator[int]:
        for first, last, step in self.ranges:
            yield from range(first, last + 1, step)

    def __len__(self) -> int:
        return sum((last - first) // step + 1 for first, last, step in self.ranges)

    @property
    def max_m(self) -> int:
        """The largest M, which sizes the buffers of the sweep."""
        return max(last for _, last, _ in self.ranges)

    def multiples_of(self, alignment: int) -> Sweep:
        """The Ms that a contiguous grouped kernel accepts: whole multiples of its block."""
        kept = []
        for first, last, step in self.ranges:
            aligned = [m for m in range(first, last + 1, step) if m % alignment == 0]
            if aligned:
                gap = aligned[1] - aligned[0] if len(aligned) > 1 else alignment
                kept.append((aligned[0], aligned[-1], gap))
        return Sweep(tuple(kept))

    def to_json(self) -> list[list[int]]:
        return [list(item) for item in self.ranges]

    @classmethod
    def from_json(cls, value: Any) -> Sweep:
        """Raises ValueError when the value is not a list of [first, last, step]."""
        try:
            ranges = tuple((int(a), int(b), int(s)) for a, b, s in value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a sweep is a list of [first, last, step], not {value!r}") from error
        if not ranges or any(a < 1 or b < a or s < 1 for a, b, s in ranges):
            raise ValueError(f"a sweep needs 1 <= first <= last and step >= 1, got {value!r}")
        return cls(ranges)


def parse_version(text: str) -> tuple[int, ...]:
    """'0.5.5.post2' -> (0, 5, 5, 2); what is no number ends the version."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:4])


@lru_cache(maxsize=1)
def _versions() -> tuple[dict[str, Any], ...]:
    raw = json.loads(resources.files(__package__).joinpath("data/sglang.json").read_text("utf-8"))
    known: dict[str, dict[str, Any]] = {}
    for entry in raw["versions"]:
        base = dict(known[entry["inherit"]]) if "inherit" in entry else {}
        known[entry["since"]] = {**base, **entry}
    return tuple(known.values())


def rules_for(version: str | None) -> dict[str, Any]:
    """The data entry that holds for an SGLang version; the newest known one for None.

    A version older than every entry gets the oldest: `checked` names what was really read.
    """
    entries = _versions()
    if version is None:
        return entries[-1]
    wanted = parse_version(version)
    fitting = [entry for entry in entries if parse_version(entry["since"]) <= wanted]
    return fitting[-1] if fitting else entries[0]


def default_chunked_prefill(rules: Mapping[str, Any], gpu_memory_gib: float) -> int:
    """Tokens of --chunked-prefill-size where the flag is absent; SGLang goes by GPU memory."""
    for below, size in rules["chunked_prefill_by_memory_gib"]:
        if below is None or gpu_memory_gib < below:
            return int(size)
    raise ValueError("data/sglang.json: chunked_prefill_by_memory_gib needs a last entry of null")


def sweep_for(rules: Mapping[str, Any], chunked_prefill: int, fast: bool) -> Sweep:
    """The M list of one rank.

    rules: an entry of data/sglang.json. chunked_prefill: tokens of one data-parallel rank (the
    flag divided by dp-size under DP attention); below 1 means that prefill is not chunked.
    fast: SGLANG_JIT_DEEPGEMM_FAST_WARMUP.
    """
    data = rules["sweep"]
    if fast:
        return _fast_sweep(data, chunked_prefill)
    max_m = data["default_max_m"]
    if chunked_prefill < 1:
        max_m = data["unchunked_max_m"]
    elif chunked_prefill > data["double_chunk_above"]:
        max_m = 2 * chunked_prefill
    return Sweep(((1, min(max_m, data["cap_max_m"]), 1),))


def _fast_sweep(data: Mapping[str, Any], chunked_prefill: int) -> Sweep:
    """Every M of decode's sizes, then octaves with a doubling step, then the largest M itself."""
    dense = data["fast_dense_below"]
    top = min(chunked_prefill, data["fast_cap_max_m"]) if chunked_prefill >= 1 else data["fast_unchunked_max_m"]
    ranges: list[Range] = [(1, dense, 1)]
    start, step = dense, data["fast_first_step"]
    while start < top:
        # An octave starts on its own first value, which the previous range already holds at 1024.
        first = start + step if start == dense else start
        ranges.append((first, 2 * start - step, step))
        start, step = 2 * start, 2 * step
    if top not in Sweep(tuple(ranges)):
        ranges.append((top, top, 1))
    return Sweep(tuple(ranges))
