"""Two benches: what differs in what was measured, and in the figures. Pure but for the reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.base.errors import InputError
from launcher.run.find import find_run, is_run

FIGURES = (
    "output_rate",
    "output_rate_gpu",
    "output_rate_user",
    "goodput",
    "ttft p50",
    "ttft p99",
    "itl p50",
    "itl p99",
)
RATES = FIGURES[:4]  # more is better
NOT_SAID = {"version", "points", "began", "seconds", "run", "job", "hardware"}


@dataclass(frozen=True)
class Change:
    """A figure of a point that both have. `share`: 0.1 is ten per cent more in the second; `better` None: the same
    within a per cent."""

    point: str
    figure: str
    before: float
    after: float
    valid: bool

    @property
    def share(self) -> float:
        return self.after / self.before - 1 if self.before else 0.0

    @property
    def better(self) -> bool | None:
        return None if abs(self.share) < 0.01 else (self.share > 0) == (self.figure in RATES)


def read(word: str, runs: Path) -> dict[str, Any]:
    """bench.json of a bench's folder or file, or the newest of a run. Raises InputError."""
    path = Path(word)
    if path.is_dir() and (path / "bench.json").exists():
        path = path / "bench.json"
    elif not path.is_file():
        if not is_run(word, runs):
            raise InputError(f"{word}: neither a bench's folder or bench.json, nor a run in {runs}/")
        found = sorted(find_run(word, runs).path.glob("bench/*/bench.json"), key=lambda f: f.stat().st_mtime)
        if not found:
            raise InputError(f"{word} has no bench: `sgl-launch bench {word}` makes one")
        path = found[-1]
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no bench.json: {error}") from None
    if not isinstance(content, dict) or "points" not in content:
        raise InputError(f"{path} is no bench.json: it has no points")
    return content


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Keys whose values differ, with both; those of mappings one by one, as `config.decode.workers`."""
    found = []
    for key in dict.fromkeys([*before, *after]):
        if not prefix and key in NOT_SAID:
            continue
        one, other = before.get(key), after.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append((f"{prefix}{key}", one, other))
    return found


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Of the points that both have, in the first one's order."""
    later = {p["point"]: p for p in after["points"]}
    found = []
    for point in before["points"]:
        other = later.get(point["point"])
        if other is None:
            continue
        for figure in FIGURES:
            one, two = _figure(point, figure), _figure(other, figure)
            if one is not None and two is not None:
                found.append(Change(point["point"], figure, one, two, point["valid"] and other["valid"]))
    return found


def _figure(point: Mapping[str, Any], name: str) -> float | None:
    what, _, percentile = name.partition(" ")
    value = point["figures"].get(what)
    return value.get(percentile) if isinstance(value, dict) else value
