"""`sgl-launch render --to dynamo-k8s`: the resource of Dynamo's Kubernetes operator for a config."""

from __future__ import annotations

from typing import Any

import click

from launcher.commands.options import planned
from launcher.commands.render import command as core
from launcher.service.commands.wrapped import wrapped


def render(config: str, sets: tuple[str, ...], to: str, **others: Any) -> Any:
    if to == "job":
        return core.callback and core.callback(config=config, sets=sets, **others)
    from launcher.service.kubernetes import resource

    return click.echo(resource(planned(config, sets, "slurm")), nl=False)


command = wrapped(core, render)
command.params.append(
    click.Option(
        ["--to"], type=click.Choice(["job", "dynamo-k8s"]), default="job", show_default=True,
        help="The job script, or the resource of Dynamo's Kubernetes operator (docs/services.md).",
    )
)  # fmt: skip
