"""`sgl-launch status [JOB]`: stage, groups and endpoint of a job."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from launcher.base.counting import duration
from launcher.commands.options import find_its_run, job_argument, json_option
from launcher.run.folder import RunFolder
from launcher.run.jobstate import JobState
from launcher.run.reasons import expected, time_left
from launcher.run.status import Status, read_status

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 80
COLOURS = {"ready": "green", "warm": "green", "lost": "bold red", "restarting": "yellow", "waiting": "dim"}


@click.command("status")
@job_argument
@click.option("-w", "--watch", is_flag=True, help="Go on showing it until the job ends.")
@click.option("--interval", type=float, default=2, show_default=True, metavar="SECONDS", help="With --watch.")
@json_option
@find_its_run
def command(run: RunFolder, watch: bool, interval: float, as_json: bool) -> None:
    """Show JOB (an id, a name or a run folder; the newest without one)."""
    if as_json:
        click.echo(json.dumps(asdict(read_status(run)), indent=2))
    elif watch:
        _watch(run, interval)
    else:
        show(read_status(run), console())


def console() -> Console:
    """Eighty columns where the output is no terminal, or a narrower one."""
    from rich.console import Console

    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=WIDTH)


def _watch(run: RunFolder, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        while True:
            status = read_status(run)
            live.update(Group(*parts(status)), refresh=True)
            if JobState(status.state).ended:
                return
            time.sleep(max(interval, 0.2))


def show(status: Status, out: Console) -> None:
    from rich.text import Text

    for part in parts(status):
        # what is copied must not be broken: a folder, an address, a command
        out.print(part, soft_wrap=isinstance(part, Text))


def parts(status: Status) -> list[Any]:
    """The status for people, as rich shows it: lines, then a table of ranks, then their last lines."""
    from rich.text import Text

    made: list[Any] = [Text(line, style="" if n else "bold") for n, line in enumerate(head(status))]
    if status.failure:
        made.insert(3 if status.service else 2, Text(status.failure, style="red"))
    if status.ranks:
        made += [Text(), _table(status)]
    if lines := _last_lines(status):
        made += [Text(), Text("last log lines", style="bold"), *map(Text, lines)]
    return [*made, *(Text(f"not known: {one}", style="yellow") for one in status.missing)]


def head(status: Status) -> list[str]:
    reason = f" ({status.reason})" if status.reason and status.state != "PENDING" else ""
    elapsed = f", {duration(status.elapsed)}" if status.elapsed is not None else ""
    again = f", attempt {status.attempt + 1}" if status.attempt else ""
    left = f", {time_left(status.time_left)} left" if status.time_left else ""
    lines = [status.service] if status.service else []
    lines += [f"{status.name}  job {status.job_id}  {status.state}{reason}"]
    lines.append(f"stage {status.stage}{again}{elapsed}{left}")
    if status.requeued:
        lines.append(f"requeued: {status.requeued}")
    if status.state == "PENDING":
        start = expected(status.expected_start) if status.expected_start else "Slurm has not estimated it yet"
        lines.append(f"expected start: {start}")
    if status.endpoint:
        lines.append(f"endpoint {status.endpoint}  model {status.model}")
        lines.append(f"         {status.guard}")
    if status.tunnel:
        lines.append(f"from another machine: {status.tunnel}")
    if status.security and status.services:
        services = ", ".join(f"{name} {state}" for name, state in status.services.items())
        lines += [f"services {services}", f"         {status.security}"]
    if status.kernels:
        lines.append(f"kernels  {status.kernels}")
    lines.append(f"run folder {status.folder}")
    return lines


def _table(status: Status) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("group", "rank", "node", "state", "health"):
        table.add_column(name, justify="right" if name == "rank" else "left", no_wrap=True, overflow="ellipsis")
    table.add_column("restarts", justify="right")
    table.add_column("lease", justify="right")
    for rank in status.ranks:
        first = rank.rank == 0
        lease = f"{rank.lease:.0f} s" if rank.lease is not None else "none" if rank.registered is False else ""
        table.add_row(
            rank.group if first else "",
            str(rank.rank),
            rank.host if rank.host != "-" else f"({rank.node})",
            Text(rank.state, style=COLOURS.get(rank.state, "")),
            Text(rank.health, style="red" if rank.health in ("refused", "no answer") else ""),
            str(rank.restarts) if first else "",
            lease if first else "",
        )
    return table


def _last_lines(status: Status) -> list[str]:
    """A line a rank, cut to the width; of those that serve none."""
    if status.ranks and status.ranks[0].state == "ended" and "failed" not in (status.failure or ""):
        return []  # what they said as they were told to end tells nothing
    rows = [r for r in status.ranks if r.line and r.state not in ("ready", "warm")]
    lines = [f"{f'{rank.group}:{rank.rank}':<13} {rank.line}" for rank in rows]
    return [line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in lines]
