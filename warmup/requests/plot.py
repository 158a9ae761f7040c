"""First, steady and probed times to the first token as lines of text. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .report import Report
from .rule import time_text

COLUMNS = 80
PLOT_ROWS = 40
MARKS = {"utf": ("●", "○", "─", "◇"), "plain": ("#", "o", "-", "x")}
Marks = tuple[str, str, str, str]


def plot_lines(report: Report, *, columns: int = COLUMNS, marks: Marks = MARKS["utf"]) -> list[str]:
    """First against steady time to first token by size and worker, on a logarithmic axis, with the
    slowest probe of a size where there was one.

    One row a size for all requests together and one for each worker; when that is too many, only
    the worker that gained most at each size, then only what gained most of all. Plain text, at
    most ``columns`` wide.
    """
    every = _plot_rows(report)
    if not every:
        return []
    rows = _most_telling(every)
    left_off = len(every) - len(rows)
    first_mark, steady_mark, line, probe_mark = marks
    times = [t for row in rows for t in (row.first, row.steady, row.probe) if t]
    low = math.log10(min(times))
    # A decade at least: stretched over the whole width, noise would look like a cold start.
    high = max(math.log10(max(times)), low + 1)
    label = min(30, max(len(row.label) for row in rows))
    width = columns - label - 20
    lines = [
        f"time to first token: {first_mark} first, {steady_mark} steady"
        + (f", {probe_mark} probe" if report.probed else "")
        + f" ({time_text(10**low)} to {time_text(10**high)}, logarithmic)"
    ]
    for row in rows:
        cells = [" "] * width
        at = [_place(t, low, high, width) for t in (row.first, row.steady)]
        for i in range(min(at), max(at)):
            cells[i] = line
        if row.probe:
            cells[_place(row.probe, low, high, width)] = probe_mark
        cells[at[0]] = first_mark
        cells[at[1]] = steady_mark
        figures = f"{time_text(row.first)} > {time_text(row.steady)}"
        lines.append(f"{_fit(row.label, label)} {''.join(cells)} {figures:>18}"[:columns])
    if left_off:
        lines.append(f"{left_off} rows of other workers are in the JSON only")
    return lines


@dataclass(frozen=True)
class _Row:
    """One line of the plot; ``worker`` is None for all requests of the size."""

    size: str
    worker: str | None
    first: float
    steady: float
    probe: float | None = None

    @property
    def label(self) -> str:
        return f"  {self.worker}" if self.worker else self.size

    @property
    def gain(self) -> float:
        return self.first / max(self.steady, 1e-9)


def _plot_rows(report: Report) -> list[_Row]:
    rows = []
    for outcome in report.result.outcomes:
        names: list[str | None] = [None, *(w.name for w in report.workers)]
        for name in names:
            first = outcome.first.get(name)
            steady = outcome.steady(f"ttft@{name}" if name else "ttft", report.rule.window)
            if first and steady:
                probe = None if name else report.probe_ttft(outcome.size.key)
                rows.append(_Row(outcome.size.key, name, first, steady, probe))
    return rows


def _most_telling(rows: list[_Row]) -> list[_Row]:
    if len(rows) <= PLOT_ROWS:
        return rows
    best: dict[str, _Row] = {}
    for row in rows:
        if row.worker and (row.size not in best or row.gain > best[row.size].gain):
            best[row.size] = row
    rows = [r for r in rows if r.worker is None or best.get(r.size) is r]
    if len(rows) <= PLOT_ROWS:
        return rows
    sizes = sorted((r for r in rows if r.worker is None), key=lambda r: r.gain, reverse=True)
    kept = {r.size for r in sizes[: PLOT_ROWS // 2]}
    return [r for r in rows if r.size in kept]


def _place(seconds: float, low: float, high: float, width: int) -> int:
    if high - low < 1e-9:
        return 0
    return min(width - 1, max(0, round((math.log10(seconds) - low) / (high - low) * (width - 1))))


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "~"
