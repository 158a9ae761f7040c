"""`sgl-launch status [JOB]`: stage, groups and endpoint of a job."""

from __future__ import annotations

import json
from pathlib import Path

import click

from launcher.commands.options import json_option, runs_option
from launcher.runfolder import find_run
from launcher.status import Status, read_status


@click.command("status")
@click.argument("job", required=False)
@json_option
@runs_option
def command(job: str | None, as_json: bool, runs: Path) -> None:
    """Show JOB (an id, a name or a run folder; the newest without one)."""
    status = read_status(find_run(job, runs))
    click.echo(json.dumps(status.json(), indent=2) if as_json else text(status))


def text(status: Status) -> str:
    """The status for people, within 80 columns."""
    reason = f" ({status.reason})" if status.reason else ""
    elapsed = f", {status.elapsed:.0f} s" if status.elapsed is not None else ""
    lines = [f"{status.name}  job {status.job_id}  {status.state}{reason}"]
    lines.append(f"stage {status.stage}{elapsed}")
    if status.failure:
        lines.append(status.failure)
    if status.endpoint:
        lines.append(f"endpoint {status.endpoint}  model {status.model}")
    lines.append(f"run folder {status.folder}")
    if status.ranks:
        lines += ["", f"{'group':<16}{'rank':>4}  {'node':>4}  {'host':<28}state"]
    previous = ""
    for rank in status.ranks:
        name = rank.group if rank.group != previous else ""
        previous = rank.group
        lines.append(f"{name:<16}{rank.rank:>4}  {rank.node:>4}  {rank.host:<28}{rank.state}")
    return "\n".join(lines)
