"""`sgl-launch status NAME`: of the job that serves, and what the service's other jobs do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from launcher.base.counting import duration
from launcher.commands.status import command as core
from launcher.service.commands.wrapped import current_link, is_service, wrapped


def status(job: str | None, runs: Path, **others: Any) -> None:
    service = is_service(job, runs)
    given = current_link(str(job), runs) if service else job
    if core.callback:
        core.callback(job=given, runs=runs, **others)
    if others.get("as_json"):
        return
    for line in lines(str(job), runs.absolute()) if service else ():
        click.echo(line)
    for line in _pieces(given, runs):
        click.echo(line)


def _pieces(job: str | None, runs: Path) -> list[str]:
    """A line for each piece of a run that has not ended."""
    from launcher.run.find import find_run
    from launcher.service.pieces import pieces

    run = find_run(job, runs)
    return [str(piece) for piece in pieces(run)]


def lines(name: str, runs: Path) -> list[str]:
    """A line for each job of a service that has not ended, and the last decision."""
    from launcher.service.links import current, links

    found = links(name, runs)
    serving, now = current(found), time.time()
    made = [f"service {name}: {'serving' if serving else 'no job serves now'}"]
    for link in found:
        if not link.living:
            continue
        what = "serves" if link is serving else "has handed over" if serving and link.number < serving.number else ""
        since = now - (link.run.path / "submit.json").stat().st_mtime
        if link.state.waiting:
            what = f"waits for {duration(since)}: {link.state.reason or 'no reason given'}"
            what += f", expected at {link.state.start}" if link.state.start[:1].isdigit() else ""
        made.append(f"  job {link.run.job_id}  {link.state.state}  {what or 'is becoming warm'}")
    said = [event for link in found for event in link.run.events() if event.stage == "link"]
    if said:
        last = max(said, key=lambda event: event.time)
        made.append(f"  {duration(now - last.time)} ago: {last.state}: {last.detail}")
    return made


command = wrapped(core, status)
