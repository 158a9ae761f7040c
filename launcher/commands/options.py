"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from launcher.config.load import load_config, site_value
from launcher.plan import Cluster, Plan, make_plan

set_option = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the config: --set prefill.workers=2 (repeatable).",
)
cluster_option = click.option(
    "--cluster",
    type=click.Choice(["slurm", "local"]),
    default="slurm",
    show_default=True,
    help="Where the deployment runs: a Slurm cluster, or this machine.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _runs(ctx: click.Context, param: click.Parameter, value: str | None) -> Path:
    return Path(value or site_value("runs") or "runs")


runs_option = click.option(
    "--runs",
    envvar="SGL_LAUNCH_RUNS",
    callback=_runs,
    metavar="FOLDER",
    help="Folder of the run folders (default: the site file's `runs`, or runs).",
)


def config_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """CONFIG, --set and --cluster."""
    function = cluster_option(function)
    function = set_option(function)
    return click.argument("config")(function)


def planned(config: str, sets: tuple[str, ...], cluster: Cluster) -> Plan:
    """Load and plan. Raises InputError."""
    loaded, source = load_config(config, sets)
    return make_plan(loaded, source, cluster)
