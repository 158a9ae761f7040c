"""`sgl-launch metrics [JOB]`: where a deployment's metrics are."""

from __future__ import annotations

import json
from pathlib import Path

import click

from launcher.commands.options import find_its_run, job_argument, json_option
from launcher.run.folder import RunFolder

DASHBOARD = Path(__file__).parents[1] / "dashboard.json"  # tools/make_dashboard.py makes it


@click.command("metrics")
@job_argument
@click.option("--dashboard", is_flag=True, help="Print a dashboard for Grafana instead (Dashboards, New, Import).")
@json_option
@find_its_run
def command(run: RunFolder, dashboard: bool, as_json: bool) -> None:
    """Print a configuration of Prometheus that scrapes JOB's groups and frontends, and the launcher's own figures.

    It names RUN/targets.json, which the job keeps true when groups move to other nodes. --json prints the targets.
    """
    if dashboard:  # for all deployments: it asks which
        click.echo(DASHBOARD.read_text(encoding="utf-8"), nl=False)
        return
    from launcher.run.deployment import read_deployment
    from launcher.run.targets import PROMETHEUS, file_sd

    if as_json:
        click.echo(json.dumps(file_sd(read_deployment(run), run.job_id), indent=1))
        return
    click.echo(PROMETHEUS.format(folder=run.path.resolve()), nl=False)
