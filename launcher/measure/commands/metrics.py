"""`sgl-launch metrics [JOB]`: where a deployment's metrics are."""

from __future__ import annotations

import json

import click

from launcher.commands.options import find_its_run, job_argument, json_option
from launcher.run.folder import RunFolder


@click.command("metrics")
@job_argument
@json_option
@find_its_run
def command(run: RunFolder, as_json: bool) -> None:
    """Print a configuration of Prometheus that scrapes JOB's groups and frontends.

    It names RUN/targets.json, which the job keeps true when groups move to other nodes. --json prints the targets.
    """
    from launcher.run.deployment import read_deployment
    from launcher.run.targets import PROMETHEUS, file_sd

    if as_json:
        click.echo(json.dumps(file_sd(read_deployment(run), run.job_id), indent=1))
        return
    click.echo(PROMETHEUS.format(folder=run.path.resolve()), nl=False)
