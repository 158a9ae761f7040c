"""`sgl-launch render CONFIG`: the job script on stdout."""

from __future__ import annotations

import click

from launcher.commands.options import config_argument, offline_checks, planned
from launcher.plan.model import Cluster
from launcher.render import render


@click.command("render")
@config_argument
def command(config: str, sets: tuple[str, ...], cluster: Cluster) -> None:
    """Print the job script of CONFIG.

    `sgl-launch render CONFIG > job.sh; sbatch job.sh` works as well as `submit`.
    """
    click.echo(render(planned(config, sets, cluster)), nl=False)
    offline_checks(config, sets, cluster, refuse=False)
