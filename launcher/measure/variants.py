"""`sweep`: a config in several variants, each submitted, measured and ended; one table and one front at the end."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from launcher.base.errors import InputError
from launcher.measure.bench import Result
from launcher.measure.point import Point
from launcher.measure.record import PERCENTILES, Figures
from launcher.measure.validity import Seen

KEYS = {"config", "grid", "variants", "bench"}


@dataclass(frozen=True)
class Variant:
    """`sets` are values of --set, `key=value`; `name` is short and good for a folder."""

    name: str
    sets: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What to run: `bench` are options of `sgl-launch bench`."""

    config: str
    variants: tuple[Variant, ...]
    bench: tuple[str, ...]


def read(file: Path) -> Plan:
    """A file with `config`, `grid` (a mapping of keys to lists) or `variants` (a list of mappings), and `bench` (a
    mapping of its options). Raises InputError."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{file}: {error}") from None
    if not isinstance(content, dict) or "config" not in content or set(content) - KEYS:
        raise InputError(f"{file}: write config, grid or variants, and bench; nothing else")
    grid, listed, bench = (content.get(k) or {} for k in ("grid", "variants", "bench"))
    if not isinstance(grid, dict) or not isinstance(bench, dict) or not all(isinstance(v, list) for v in grid.values()):
        raise InputError(f"{file}: grid is a mapping of keys to lists, bench a mapping of its options")
    chosen: list[dict[str, Any]] = [dict(zip(grid, each, strict=True)) for each in itertools.product(*grid.values())]
    if isinstance(listed, list) and listed and all(isinstance(v, dict) for v in listed):
        chosen = [{**v, **g} for v in listed for g in chosen]
    variants = [Variant(_name(c), tuple(f"{k}={json.dumps(v)}" for k, v in c.items())) for c in chosen]
    if len({v.name for v in variants}) < len(variants):
        raise InputError(f"{file}: two variants have the same values")
    options = [f"--{k.replace('_', '-')}={_words(v)}" for k, v in bench.items()]
    return Plan(str(file.parent / content["config"]), tuple(variants), tuple(options))


def _name(values: dict[str, Any]) -> str:
    """`workers=2,max-running-requests=16`: the last part of each key."""
    text = ",".join(f"{key.rpartition('.')[2]}={_words(value)}" for key, value in values.items()) or "as-it-is"
    return "".join(c if c.isalnum() or c in "=,.-_" else "-" for c in text)[:80]


def _words(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def run(plan: Plan, folder: Path, submit: Sequence[str], say: Any) -> list[tuple[Variant, str | None]]:
    """Run what was not measured in `folder` yet, each job ended before the next; why a variant failed, None where it
    was measured. A failed one does not stop the others."""
    program = str(Path(sys.executable).with_name("sgl-launch"))
    runs = folder / "runs"
    found: list[tuple[Variant, str | None]] = []
    for number, variant in enumerate(plan.variants, 1):
        place = folder / variant.name
        if _measured(place):
            say(f"[{number}/{len(plan.variants)}] {variant.name}: measured before")
            found.append((variant, None))
            continue
        say(f"[{number}/{len(plan.variants)}] {variant.name}")
        why = _one(program, plan, variant, place, runs, submit)
        if why:
            say(f"  failed: {why}")
        found.append((variant, why))
    return found


def _measured(place: Path) -> bool:
    """Whether all points are there: none was cut off by the job's end."""
    file = place / "bench.json"
    return file.exists() and all(not p["seen"].get("ended") for p in json.loads(file.read_text("utf-8"))["points"])


def _one(program: str, plan: Plan, variant: Variant, place: Path, runs: Path, submit: Sequence[str]) -> str | None:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *words], capture_output=True, text=True)

    left = place / "job"  # of a sweep that was killed
    if left.exists():
        call("cancel", left.read_text(encoding="utf-8"))
    before = set(runs.glob("*/")) if runs.exists() else set()
    values = (f"runs={json.dumps(str(runs.resolve()))}", *variant.sets)
    sets = [word for value in values for word in ("--set", value)]
    place.mkdir(exist_ok=True)
    submitted = call("submit", plan.config, *submit, *sets, "--parsable")
    new = [p for p in set(runs.glob("*/")) - before if (p / "submit.json").exists()]
    if submitted.returncode or not new:
        return _last(submitted.stderr) or "it was not submitted"
    job = str(new[0])
    try:
        left.write_text(job, encoding="utf-8")
        ready = call("wait", job, "--for", "ready")
        if ready.returncode:
            return _last(ready.stderr) or "it did not become ready"
        if call("wait", job, "--for", "warm").returncode:
            return "its warm-up did not end warm"
        measured = call("bench", job, *plan.bench, "--out", str(place))
        return None if (place / "bench.json").exists() else _last(measured.stderr)
    finally:
        call("cancel", job)
        left.unlink(missing_ok=True)


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("sgl-launch: ") if lines else ""


def collect(plan: Plan, folder: Path) -> list[Result]:
    """The results of all variants that were measured, each point with its variant's name."""
    found = []
    for variant in plan.variants:
        file = folder / variant.name / "bench.json"
        if file.exists():
            points = json.loads(file.read_text(encoding="utf-8"))["points"]
            found += [_result(variant.name, p) for p in points]
    return found


def _result(variant: str, raw: dict[str, Any]) -> Result:
    point = Point(**{k: raw[k] for k in Point.__dataclass_fields__ if k in raw})
    figures = dict(raw["figures"])
    for what in ("ttft", "itl", "e2e"):
        figures[what] = {p: figures[what][f"p{p}"] for p in PERCENTILES if f"p{p}" in figures[what]}
    return Result(replace(point, variant=variant), Figures(**figures), Seen(**raw["seen"]), tuple(raw["problems"]))
