"""What was measured of a run, for its page: benches, evals, and what the hardware said meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.run.folder import RunFolder


@dataclass(frozen=True)
class Bench:
    """One bench: its folder below the run's, when it began, a row a point (texts), and sentences on the hardware; None:
    the hardware was not asked."""

    folder: str
    began: str
    rows: tuple[tuple[str, ...], ...]
    problems: tuple[str, ...]
    hardware: tuple[str, ...] | None


def benches(run: RunFolder) -> list[Bench]:
    return [_bench(file.parent, content, run) for file, content in _read(run, "bench/*/bench.json")]


def evals(run: RunFolder) -> list[str]:
    """A sentence each."""
    found = []
    for file, said in _read(run, "eval/*.json"):
        parted = sum(len(way.get("parted", ())) for way in said.get("ways", ()))
        equal = sum(way.get("equal", 0) for way in said.get("ways", ()))
        verdict = "the answers agree" if said.get("agrees") else "the answers do not agree"
        found.append(f"{file.stem}: {said.get('prompts')} prompts, {equal} texts equal, {parted} not: {verdict}")
    for file, said in _read(run, "eval/*/*/metrics.json"):
        scores = said.get("aggregate") or {}
        score = next((scores[k] for k in ("pass@1", "score", "accuracy") if k in scores), None)
        if isinstance(score, (int, float)):
            found.append(f"{file.parents[1].name}: {score:.1%} of {said.get('num_examples')} questions right")
    return found


def _read(run: RunFolder, pattern: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted(run.path.glob(pattern)):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            yield file, content


def _bench(folder: Path, content: dict[str, Any], run: RunFolder) -> Bench:
    points = content.get("points") or []
    hardware = content.get("hardware") or {}
    asked = bool(hardware.get("before") and hardware.get("after"))
    return Bench(
        str(folder.relative_to(run.path)),
        str(content.get("began") or ""),
        tuple(map(_row, points)),
        tuple(f"{p['point']}: {why}" for p in points for why in p.get("problems", ())),
        tuple(hardware.get("remarks") or ()) if asked else None,
    )


def _row(point: dict[str, Any]) -> tuple[str, ...]:
    figures = point["figures"]
    rates = [figures.get(k) for k in ("output_rate", "output_rate_gpu", "output_rate_user")]
    times = [(figures.get(k) or {}).get(p) for k in ("ttft", "itl") for p in ("p50", "p99")]
    return (
        str(point["point"]),
        *("–" if r is None else f"{r:,.1f}" for r in rates),
        *("–" if t is None else f"{t * 1000:,.1f} ms" for t in times),
        "valid" if point.get("valid") else "INVALID",
    )
