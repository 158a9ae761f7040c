"""`sgl-launch compare BENCH BENCH`: what differs between two benches."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from launcher.commands.options import json_option, runs_option


@click.command("compare")
@click.argument("before", metavar="JOB|BENCH")
@click.argument("after", metavar="JOB|BENCH")
@json_option
@runs_option
def command(before: str, after: str, as_json: bool, runs: Path) -> None:
    """Compare two benches: config, versions and nodes, then the figures of the points that both have.

    A job stands for its newest bench; a bench is its folder or its bench.json. Figures of an invalid point are marked.
    """
    from launcher.measure import compare

    one, other = compare.read(before, runs), compare.read(after, runs)
    differ, changed = compare.differences(one, other), compare.changes(one, other)
    if as_json:
        figures = [{**vars(c), "share": c.share, "better": c.better} for c in changed]
        said = [{"key": k, "before": a, "after": b} for k, a, b in differ]
        click.echo(json.dumps({"version": 1, "differs": said, "figures": figures}, indent=1))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 80)
    for key, a, b in differ:
        console.print(f"{key}: {a} > {b}", markup=False, highlight=False)
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in ("point", "figure"):
        table.add_column(name, no_wrap=True)
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for c in changed:
        style = {True: "green", False: "red", None: ""}[c.better]
        values = [f"{v:,.1f}" if c.figure in compare.RATES else f"{v * 1000:,.2f} ms" for v in (c.before, c.after)]
        table.add_row(c.point, c.figure, *values, Text(f"{c.share:+.1%}", style=style), "" if c.valid else "invalid")
    console.print(table)
    if not changed:
        console.print("they have no point in common")
