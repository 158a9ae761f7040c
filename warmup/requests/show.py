"""The report on a terminal: a table, a plot, a verdict; and the live progress before it.

80 columns, colours only on a terminal. rich is imported here alone, and late.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING

from .report import Report
from .sweep import Began, Event, RequestDone, RoundDone, SizeDone, SizeOutcome
from .verdict import FAILED, NOT_STEADY, WARM

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

COLUMNS = 80
PLOT_ROWS = 40
COLOURS = {WARM: "green", NOT_STEADY: "yellow", FAILED: "red"}
MARKS = {"utf": ("●", "○", "─"), "plain": ("#", "o", "-")}


def show(report: Report, file: IO[str] | None = None) -> None:
    """Print the report to ``file``, standard output by default."""
    out = file or sys.stdout
    console = _console(out)
    _heading(console, report)
    if report.result.outcomes:
        _table(console, report)
        for line in plot_lines(report, marks=_marks(out)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print()
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    state = report.verdict.state
    console.print(f"verdict: {state}", style=f"bold {COLOURS[state]}", highlight=False)
    for reason in report.verdict.reasons:
        console.print(f"  {reason}", markup=False, highlight=False)


def plot_lines(report: Report, *, columns: int = COLUMNS, marks: tuple[str, str, str] = MARKS["utf"]) -> list[str]:
    """First against steady time to first token by size and worker, on a logarithmic axis.

    One row a size for all requests together and one for each worker; when that is too many, only
    the worker that gained most at each size, then only what gained most of all. Plain text, at
    most ``columns`` wide.
    """
    every = _plot_rows(report)
    if not every:
        return []
    rows = _most_telling(every)
    left_off = len(every) - len(rows)
    first_mark, steady_mark, line = marks
    times = [t for row in rows for t in (row.first, row.steady)]
    low = math.log10(min(times))
    # A decade at least: stretched over the whole width, noise would look like a cold start.
    high = max(math.log10(max(times)), low + 1)
    label = min(34, max(len(row.label) for row in rows))
    width = columns - label - 20
    lines = [
        f"time to first token: {first_mark} first, {steady_mark} steady"
        f" ({time_text(10**low)} to {time_text(10**high)}, logarithmic)"
    ]
    for row in rows:
        cells = [" "] * width
        at = [_place(t, low, high, width) for t in (row.first, row.steady)]
        for i in range(min(at), max(at)):
            cells[i] = line
        cells[at[0]] = first_mark
        cells[at[1]] = steady_mark
        figures = f"{time_text(row.first)} > {time_text(row.steady)}"
        lines.append(f"{_fit(row.label, label)} {''.join(cells)} {figures:>18}"[:columns])
    if left_off:
        lines.append(f"{left_off} rows of other workers are in the JSON only")
    return lines


def time_text(seconds: float | None) -> str:
    """A time in at most seven characters: ``0.45ms``, ``87ms``, ``1.25s``, ``136s``."""
    if seconds is None:
        return "-"
    if seconds < 0.01:
        return f"{seconds * 1000:.2f}ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.2f}s" if seconds < 100 else f"{seconds:.0f}s"


class Live:
    """A progress callback that shows where the sweep is, on standard error.

    On a terminal one moving line, elsewhere one line a size. A context manager.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        self.file = file or sys.stderr
        self._bars: Bars | None = None
        self._sizes: TaskID | None = None

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Began):
            self._begin(event)
        elif self._bars is None or self._sizes is None:
            if isinstance(event, SizeDone):
                print(size_line(event), file=self.file, flush=True)
        elif isinstance(event, RequestDone):
            said = event.answer.error or ""
            self._bars.update(self._sizes, round=f"request {event.done}/{event.of} {said}"[:40])
        elif isinstance(event, RoundDone):
            ttft = time_text(event.figures.values.get("ttft"))
            self._bars.update(self._sizes, description=f"{event.size.key} round {event.round + 1} ttft {ttft}")
        else:
            self._bars.console.print(size_line(event), markup=False, highlight=False)
            self._bars.update(self._sizes, advance=1)

    def _begin(self, event: Began) -> None:
        known = f", {_counted(len(event.workers), 'worker')}" if event.workers else ""
        if not self.file.isatty():
            print(f"{_counted(len(event.sizes), 'size')}{known}", file=self.file, flush=True)
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[round]}", markup=False),
            console=Console(file=self.file),
            transient=True,
        )
        self._sizes = self._bars.add_task("first request", total=len(event.sizes), round="")
        self._bars.start()


def _counted(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def size_line(event: SizeDone) -> str:
    """One line for a finished size."""
    outcome = event.outcome
    first = time_text(outcome.first.get(None))
    steady = time_text(outcome.steady("ttft", 3))
    line = (
        f"[{event.position + 1}/{event.of}] {outcome.size.key}: {outcome.state}"
        f" after {_counted(len(outcome.rounds), 'round')}, ttft {first} > {steady}"
    )
    if outcome.missing:
        line += f", not met: {', '.join(w.name for w in outcome.missing)}"
    return line


def _heading(console: Console, report: Report) -> None:
    result = report.result
    who = f"{report.model or 'no model'} at {report.address}"
    if report.server:
        who += f" ({report.server})"
    console.print(who, markup=False, highlight=False)
    if result.requests:
        failed = sum(result.errors.values())
        console.print(
            f"{_counted(result.requests, 'request')} in {result.seconds:.1f} s, {failed} failed;"
            f" steady: {report.rule.window} rounds within {report.rule.ttft} (ttft),"
            f" {report.rule.itl} (itl) of the best of {report.rule.memory}",
            markup=False,
            highlight=False,
        )


def _table(console: Console, report: Report) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, padding=(0, 1), width=COLUMNS)
    for name in ("prompt", "at once", "output", "rounds", "first", "steady", "itl", "met"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state")
    for outcome in report.result.outcomes:
        size = outcome.size
        met = "?" if not report.told_apart else _met(outcome, report)
        colour = COLOURS.get(outcome.state, "red" if outcome.state == "not met" else "yellow")
        table.add_row(
            str(size.prompt_tokens),
            str(size.concurrency),
            str(size.output_tokens),
            str(len(outcome.rounds)),
            time_text(outcome.first.get(None)),
            time_text(outcome.steady("ttft", report.rule.window)),
            time_text(outcome.steady("itl", report.rule.window)),
            met,
            Text(outcome.state, style=colour),
        )
    console.print(table)


def _met(outcome: SizeOutcome, report: Report) -> str:
    expected = report.roster.expected
    return f"{len(expected) - len(outcome.missing)}/{len(expected)}"


@dataclass(frozen=True)
class _Row:
    """One line of the plot; ``worker`` is None for all requests of the size."""

    size: str
    worker: str | None
    first: float
    steady: float

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
                rows.append(_Row(outcome.size.key, name, first, steady))
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


def _marks(file: IO[str]) -> tuple[str, str, str]:
    try:
        "".join(MARKS["utf"]).encode(getattr(file, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return MARKS["plain"]
    return MARKS["utf"]


def _console(file: IO[str]) -> Console:
    from rich.console import Console

    return Console(file=file, width=COLUMNS, highlight=False)
