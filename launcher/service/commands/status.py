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
    if service and not others.get("as_json"):
        for line in lines(str(job), runs.absolute()):
            click.echo(line)


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
