"""A bench's results as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from launcher.measure.bench import Result
from launcher.measure.results import number

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}"
    "table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}.bad{color:#b00020}svg{max-width:100%;height:auto}"
)


def page(results: Sequence[Result], facts: Mapping[str, Any], svg: str) -> str:
    heads = ("point", "tok/s", "tok/s/GPU", "tok/s/user", "TTFT p50", "p90", "p99", "ITL p50", "p90", "p99", "goodput")
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(r))}</tr>" for r in results)
    wrong = "".join(
        f"<li class=bad>{escape(r.point.key)} is invalid: {escape(problem)}</li>"
        for r in results
        for problem in r.problems
    )
    said = "".join(
        f"<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>"
        for k, v in facts.items()
        if k not in ("config", "hardware")
    )
    wrong += "".join(
        f"<li class=bad>hardware: {escape(remark)}</li>" for remark in (facts.get("hardware") or {}).get("remarks", ())
    )
    head = "".join(f"<th>{name}</th>" for name in heads)
    drawing = svg[svg.find("<svg") :] if "<svg" in svg else ""
    return (
        f"<!doctype html><meta charset=utf-8><title>bench of {escape(str(facts.get('name')))}</title>"
        f"<style>{STYLE}</style><h1>Bench of {escape(str(facts.get('name')))}</h1>{drawing}"
        f"<table><tr>{head}</tr>{rows}</table><ul>{wrong}</ul><h2>What was measured</h2><table>{said}</table>\n"
    )


def _cells(r: Result) -> list[str]:
    f = r.figures
    rates = [number(v) for v in (f.output_rate, f.output_rate_gpu, f.output_rate_user)]
    times = [_ms(times.get(p)) for times in (f.ttft, f.itl) for p in (50, 90, 99)]
    return [r.point.key, *rates, *times, "-" if f.goodput is None else f"{f.goodput:.3g}/s"]


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.1f} ms"
