"""A bench from beginning to end: run, written to its folder, shown."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from launcher import __version__
from launcher.measure import hardware, pareto, results
from launcher.measure.bench import Bench, Result, measure
from launcher.measure.page import page
from launcher.measure.point import Point


def run(bench: Bench, points: Sequence[Point], out: Path | None) -> tuple[list[Result], dict[str, Any], Path]:
    """Measure the points, with a line on standard error for each. Raises WorkError without aiperf."""
    folder = out or next_folder(bench)
    done = 0

    def tell(result: Result) -> None:
        nonlocal done
        done += 1
        f = result.figures
        line = f"[{done}/{len(points)}] {result.point.key}: {results.number(f.output_rate)} tok/s"
        said = "valid" if result.valid else f"INVALID: {result.problems[0]}"
        click.echo(f"{line}, {f.requests} requests in {f.seconds:.1f} s: {said}", err=True)

    began = time.time()
    before = hardware.snapshot(bench.run) if bench.run else {}
    found = asyncio.run(measure(bench, points, folder / "points", tell))
    after = hardware.snapshot(bench.run) if bench.run else {}
    said = {"before": before, "after": after, "remarks": hardware.remarks(before, after)}
    return found, {**facts(bench, began), "hardware": said}, folder


def next_folder(bench: Bench) -> Path:
    """RUN/bench/N of a run, bench-N below the working folder of an address; the first N that is free."""
    number = 1
    while True:
        folder = bench.run.path / "bench" / str(number) if bench.run else Path(f"bench-{number}")
        if not folder.exists():
            return folder
        number += 1


def facts(bench: Bench, began: float) -> dict[str, Any]:
    """What was measured, so that another run can be compared with it."""
    import importlib.metadata

    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    found: dict[str, Any] = {
        "name": bench.run.name if bench.run else bench.server.url,
        "model": bench.server.model,
        "address": bench.server.url,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "seconds": round(time.time() - began, 1),
        "gpus": bench.gpus,
        "slo": None if bench.slo is None else vars(bench.slo),
        "sgl_launch": __version__,
        "git": _git(),
        "aiperf": version("aiperf"),
    }
    if bench.run is not None:
        plan = bench.run.plan()
        found |= {
            "job": bench.run.job_id,
            "run": str(bench.run.path),
            "engine": plan.engine,
            "config": plan.config,
            "groups": {role: sum(g.role == role for g in plan.groups) for role in plan.roles},
            "hosts": sorted({node.host for node in bench.run.nodes()}),
        }
    return found


def _git() -> str | None:
    """The commit of this checkout, with + where it has been changed; None for an installed package."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def write(found: Sequence[Result], facts: dict[str, Any], folder: Path) -> None:
    """bench.json, bench.csv, bench.html and, with matplotlib, pareto.png and pareto.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results.to_dict(found, facts), indent=1, allow_nan=False) + "\n"
    (folder / "bench.json").write_text(text, encoding="utf-8")
    (folder / "bench.csv").write_text(results.to_csv(found), encoding="utf-8")
    svg = folder / "pareto.svg"
    drawn = pareto.picture(found, f"{facts['name']}: {facts['model']}", folder / "pareto.png", svg)
    drawing = svg.read_text(encoding="utf-8") if drawn else ""
    (folder / "bench.html").write_text(page(found, facts, drawing), encoding="utf-8")


def show(found: Sequence[Result], facts: dict[str, Any], folder: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(results.to_dict(found, facts), indent=1, allow_nan=False))
        return
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 80, no_color=not terminal)
    gpus = f", {facts['gpus']} GPUs" if facts["gpus"] else ""
    where = f" at {facts['address']}" if facts["address"] else ""
    console.print(f"{facts['model']}{where}{gpus}", markup=False, highlight=False)
    results.show(found, console)
    for remark in (facts.get("hardware") or {}).get("remarks", ()):
        console.print(f"hardware: {remark}", markup=False, highlight=False, style="red")
    for line in pareto.lines(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"\nwritten to {folder}", markup=False, highlight=False, soft_wrap=True)
