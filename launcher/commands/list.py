"""`sgl-launch list`: the runs in this folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from launcher.commands.options import json_option, runs_option
from launcher.jobstate import job_state
from launcher.runfolder import find_runs
from launcher.status import stage_of


@click.command("list")
@json_option
@runs_option
def command(as_json: bool, runs: Path) -> None:
    """List the runs, newest last: job id, name, state, stage and age."""
    rows: list[dict[str, Any]] = []
    for run in find_runs(runs):
        events = run.events()
        rows.append(
            {
                "job_id": run.job_id,
                "name": run.name,
                "state": job_state(run).state,
                "stage": stage_of(events),
                "started": events[0].time if events else None,
                "folder": str(run.path),
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo(f"no runs in {runs}/", err=True)
        return
    click.echo(f"{'job':<10}{'name':<24}{'state':<13}{'stage':<20}{'age':>10}")
    for row in rows:
        age = f"{time.time() - row['started']:.0f} s" if row["started"] else "-"
        click.echo(f"{row['job_id']:<10}{row['name']:<24}{row['state']:<13}{row['stage']:<20}{age:>10}")
