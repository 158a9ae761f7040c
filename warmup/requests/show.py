"""The report on a terminal: a table, a plot, a verdict; and the live progress before it.

80 columns, colours only on a terminal. rich is imported here alone, and late.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import IO, TYPE_CHECKING

from .outcome import Began, Event, RequestDone, RoundDone, SizeDone, SizeOutcome
from .plot import COLUMNS, MARKS, Marks, plot_lines
from .report import Report
from .rule import time_text
from .sizes import Size
from .verdict import FAILED, NOT_STEADY, WARM

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

COLOURS = {WARM: "green", NOT_STEADY: "yellow", FAILED: "red"}


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
            f" steady: at most {report.rule.ttft} from the end",
            markup=False,
            highlight=False,
        )


def _table(console: Console, report: Report) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), width=COLUMNS)
    for name in ("prompt", "at once", "output", "rounds", "first", "steady", "probe", "itl", "met"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state")
    for outcome in report.result.outcomes:
        size = outcome.size
        met = "?" if not report.told_apart else _met(outcome, report)
        colour = COLOURS.get(outcome.state, "red" if outcome.state == "not met" else "yellow")
        table.add_row(
            f"{size.cached_tokens}+{size.prompt_tokens - size.cached_tokens}"
            if size.cached_tokens
            else str(size.prompt_tokens),
            f"{size.concurrency}..1" if size.levels else str(size.concurrency),
            str(size.output_tokens),
            str(len(outcome.rounds)),
            time_text(outcome.first.get(None)),
            time_text(outcome.steady("ttft", report.rule.window)),
            time_text(report.probe_ttft(size.key)),
            time_text(outcome.steady("itl", report.rule.window)),
            met,
            Text(outcome.state, style=colour),
        )
    console.print(table)
    for line in _legend([o.size for o in report.result.outcomes], report):
        console.print(line, markup=False, highlight=False)


def _legend(sizes: list[Size], report: Report) -> list[str]:
    lines = []
    if any(s.cached_tokens for s in sizes):
        lines.append("prompt 32+16: 32 tokens that are cached and 16 that are new")
    if any(s.levels for s in sizes):
        lines.append("at once 64..1: answers end in groups, so that every batch is met")
    if report.probed:
        rounds = ""
        for turn in sorted({p.turn for p in report.probed}):
            now = [p for p in report.probed if p.turn == turn]
            rounds += f"; {len(now)} more, " if rounds else f"{len(now)} prompts as no size had them, "
            rounds += f"{sum(p.slow for p in now)} slow"
        lines.append(f"probe: {rounds}; the column has the slowest near a size")
    return lines


def _met(outcome: SizeOutcome, report: Report) -> str:
    expected = report.roster.expected
    return f"{len(expected) - len(outcome.missing)}/{len(expected)}"


def _marks(file: IO[str]) -> Marks:
    try:
        "".join(MARKS["utf"]).encode(getattr(file, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return MARKS["plain"]
    return MARKS["utf"]


def _console(file: IO[str]) -> Console:
    from rich.console import Console

    return Console(file=file, width=COLUMNS, highlight=False)
