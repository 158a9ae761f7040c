"""A bench's results as JSON, CSV and a table. Times in seconds; null or empty where a figure was not measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from launcher.measure.bench import Result
from launcher.measure.record import PERCENTILES

if TYPE_CHECKING:
    from rich.console import Console

VERSION = 1


def to_dict(results: Sequence[Result], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts` say what was measured: name, versions, config, hardware."""
    return {"version": VERSION, **facts, "points": [_point(r) for r in results]}


def _point(result: Result) -> dict[str, Any]:
    found = asdict(result.figures)
    for name in ("ttft", "itl", "e2e"):
        found[name] = {f"p{p}": value for p, value in found[name].items()}
    return {
        "point": result.point.key,
        **asdict(result.point),
        "valid": result.valid,
        "problems": list(result.problems),
        "figures": found,
        "seen": asdict(result.seen),
    }


def to_csv(results: Sequence[Result]) -> str:
    """A line a point."""
    out = io.StringIO()
    names = [f"{what}_p{p}" for what in ("ttft", "itl", "e2e") for p in PERCENTILES]
    plain = ("requests", "failed", "seconds", "request_rate", "output_rate", "output_rate_gpu", "output_rate_user")
    writer = csv.writer(out, lineterminator="\n")
    load = ("point", "concurrency", "rate", "prompt_tokens", "output_tokens", "valid")
    writer.writerow([*load, *plain, "goodput", *names, "queued", "kv_use", "problems"])
    for r in results:
        f, p = r.figures, r.point
        times = [getattr(f, what).get(q) for what in ("ttft", "itl", "e2e") for q in PERCENTILES]
        row = [p.key, p.concurrency, p.rate, p.prompt_tokens, p.output_tokens, r.valid]
        row += [*(getattr(f, name) for name in plain), f.goodput, *times, r.seen.queued, r.seen.kv_use]
        writer.writerow([*row, "; ".join(r.problems)])
    return out.getvalue()


def show(results: Sequence[Result], console: Console) -> None:
    """80 columns: figures of every point, a table for each variant, then why points are invalid."""
    for variant in dict.fromkeys(r.point.variant for r in results):
        if variant:
            console.print(variant, style="bold", markup=False, highlight=False)
        _table([r for r in results if r.point.variant == variant], console)
    for r in results:
        if r.figures.goodput is not None:
            kept = f"{r.figures.goodput:.3g} of {r.figures.request_rate:.3g} requests/s keep the SLO"
            console.print(f"{r.point.key}: {kept}", markup=False, highlight=False)
    for r in results:
        for problem in r.problems:
            console.print(f"{r.point.key} is invalid: {problem}", markup=False, highlight=False, style="red")


def _table(results: Sequence[Result], console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from warmup.requests.rule import time_text

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), width=80)
    for name in ("load", "in>out", "tok/s", "/GPU", "/user", "ttft p50", "p99", "itl p50", "p99"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for r in results:
        f = r.figures
        times = [time_text(times.get(p)) for times in (f.ttft, f.itl) for p in (50, 99)]
        rates = [number(v) for v in (f.output_rate, f.output_rate_gpu, f.output_rate_user)]
        mark = Text("valid", style="green") if r.valid else Text("INVALID", style="bold red")
        table.add_row(r.point.load, r.point.lengths, *rates, *times, mark)
    console.print(table)


def number(value: float | None) -> str:
    """Four digits at most matter: `12.3`, `1,234`."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
