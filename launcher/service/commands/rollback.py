"""`sgl-launch rollback NAME`: the config before the one that serves, in the same way as an update."""

from __future__ import annotations

from pathlib import Path

import click

from launcher.base.errors import InputError
from launcher.commands.options import complete_job, runs_option
from launcher.service.commands.wrapped import has_keys


@click.command("rollback")
@click.argument("name", shell_complete=complete_job)
@runs_option
def command(name: str, runs: Path) -> None:
    """Go back to the config that NAME had before: withdraw an update that does not serve yet, else hand over to one
    more job with the former config."""
    from launcher.service import queue
    from launcher.service.former import config_of, former
    from launcher.service.links import current, links

    runs = runs.absolute()
    if not has_keys(name, runs):
        raise InputError(f"there is no service {name!r} in {runs}/; `sgl-launch serve CONFIG` makes one")
    found = links(name, runs)
    serving = current(found)
    if serving is None:
        raise InputError(f"no job of {name} serves now; submit the config that you want with `sgl-launch serve`")
    own = config_of(serving.run)
    updates = [x for x in found if x.number > serving.number and x.living and config_of(x.run) != own]
    for update in updates:
        queue.ask("scancel", update.run.job_id)
        click.echo(f"the update in job {update.run.job_id} is withdrawn; job {serving.run.job_id} serves on")
    if updates:
        return
    before = former(name, runs, serving.run)
    if before is None:
        raise InputError(f"{name} has had no other config that became warm")
    service = serving.run.plan().config["service"]
    sets = [f"service.{key}={value}" for key, value in service.items() if value is not None]
    job = queue.submit(before.path / "effective.yaml", runs, name, sets=sets, more=queue.more_options(before))
    click.echo(f"job {job} has the config of job {before.job_id} and takes over once it is warm")
