"""`sgl-launch submit --pieces`: several small jobs in place of one large one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from launcher.base.errors import InputError
from launcher.commands.options import planned
from launcher.commands.submit import command as core
from launcher.service.commands.wrapped import wrapped


def submit(pieces: bool, **given: Any) -> Any:
    if not pieces:
        return core.callback and core.callback(**given)
    from launcher.run.find import find_run
    from launcher.service.pieces import add, refuse_engine

    if given["cluster"] != "slurm" or given["after_kernels"]:
        raise click.UsageError("--pieces is for Slurm's queue, and not with --after-kernels")
    config = planned(given["config"], given["sets"], "slurm").config
    refuse_engine(config.engine)
    more = {name: role.workers - 1 for name, role in config.roles.items() if role.workers > 1}
    if not more:
        raise InputError("there is nothing to split: each role has one worker group")
    runs = Path(config.runs).absolute()
    given["sets"] = (*given["sets"], *(f"{name}.workers=1" for name in more))
    target, given["target"] = given["target"], None
    if core.callback:
        core.callback(**given)
    if given["dry_run"]:
        return None
    head = find_run(config.name, runs)
    for role, count in more.items():
        for _ in range(count):
            job = add(head, role, list(config.roles), given["options"])
            click.echo(job if given["parsable"] else f"{role}: job {job} joins once it is warm")
    if target:
        from launcher.run.follow import wait_for

        wait_for(head, target, given["timeout"], lambda line: click.echo(line, err=True))
    return None


command = wrapped(core, submit)
command.params.append(
    click.Option(
        ["--pieces"], is_flag=True,
        help="One job for the first worker group of each role, and one for each further group: they start as there is "
        "room for each, and join once they are warm.",
    )
)  # fmt: skip
