"""`sgl-launch list`: the runs in this folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from launcher.base.counting import duration
from launcher.commands.options import json_option, runs_option
from launcher.run.find import look_up
from launcher.run.folder import RunFolder
from launcher.run.history import History
from launcher.run.jobstate import JobState
from launcher.run.state import job_states


@click.command("list")
@click.option("-n", "--lines", type=int, default=0, metavar="N", help="Only the newest N.")
@click.option("--running", is_flag=True, help="Only those that have not ended.")
@json_option
@runs_option
def command(lines: int, running: bool, as_json: bool, runs: Path) -> None:
    """List the runs, newest last: job id, name, state, stage, age and how they ended."""
    known = look_up(runs)
    chosen = known.runs if running else known.runs[-lines:]  # all for 0
    states = job_states(chosen)
    shown = [pair for pair in zip(chosen, states, strict=True) if not (running and pair[1].ended)]
    rows = [_row(run, state) for run, state in shown[-lines:]]
    silent = {s.reason: None for s in states if s.state == "UNKNOWN" and not s.forgotten}
    for note in filter(None, (*silent, known.note)):
        click.echo(note, err=True)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo(f"no runs in {runs}/" if not running else f"nothing runs in {runs}/", err=True)
        return
    wide = min(max(4, *(len(row["name"]) for row in rows)) + 2, 30)
    click.echo(f"{'job':<10}{'name':<{wide}}{'state':<12}{'stage':<10}{'age':>13}  endpoint")
    for row in rows:
        age = duration(time.time() - row["started"]) if row["started"] else "-"
        name = row["name"] if len(row["name"]) < wide else row["name"][: wide - 2] + "…"
        line = f"{row['job_id']:<10}{name:<{wide}}{row['state']:<12}{row['stage']:<10}{age:>13}"
        why = f"({row['reason']})" if row["reason"] else ""
        click.echo(f"{line}  {row['endpoint'] or why}".rstrip())


def _row(run: RunFolder, state: JobState) -> dict[str, Any]:
    history = History.read(run, state)
    endpoint = run.endpoint() if history.events and not state.ended else None
    return {
        "job_id": run.job_id,
        "name": run.name,
        "state": state.state,
        "reason": state.reason if state.state != "UNKNOWN" else "",
        "ended": state.ended,
        "stage": history.stage,
        "started": history.began,
        "endpoint": endpoint.shown if endpoint else None,
        "failure": history.failure_text,
        "folder": str(run.path),
    }
