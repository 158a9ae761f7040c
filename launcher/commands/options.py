"""Options and arguments that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.base.counting import counted
from launcher.base.errors import InputError, Problem
from launcher.config.paths import expanded
from launcher.config.site import site_value

if TYPE_CHECKING:
    from launcher.plan.model import Cluster, Plan

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
    try:
        return Path(expanded(value or site_value("runs") or "runs"))
    except ValueError as e:
        raise InputError(Problem(str(e), None, "runs")) from None


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
    from launcher.config.load import load_config
    from launcher.config.secrets import secret_warnings
    from launcher.plan.make import make_plan

    loaded, source = load_config(config, sets)
    for warning in secret_warnings(loaded, source):
        click.echo(f"sgl-launch: warning: {warning}", err=True)
    return make_plan(loaded, source, cluster)


def offline_checks(config: str, sets: tuple[str, ...], cluster: Cluster, refuse: bool) -> None:
    """The checks that ask nobody. Raises InputError with the errors if `refuse`, else says in a line that there are
    some; of warnings it says how many, and where to read them."""
    from launcher.check import check_config

    checked = check_config(config, sets, cluster, ask_slurm=False)
    read = f"`sgl-launch check {config}` shows them"
    found = [finding.problem for finding in checked.findings if finding.level == "error"]
    if found and refuse:
        raise InputError(*found, Problem("nothing was submitted; --no-check submits all the same"))
    if found:
        click.echo(f"sgl-launch: warning: the config has {counted(len(found), 'error')}: {read}", err=True)
    elif checked.warnings:
        click.echo(f"sgl-launch: {counted(checked.warnings, 'warning')} about the config: {read}", err=True)


def complete_job(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """For shells: ids, names and folders of the runs that begin so, the newest first."""
    from click.shell_completion import CompletionItem

    from launcher.run.find import look_up

    try:
        given = str(ctx.params.get("runs") or "") or os.environ.get("SGL_LAUNCH_RUNS") or site_value("runs") or "runs"
        runs = look_up(Path(expanded(given))).runs
    except Exception:  # a broken site file is no reason to break the user's prompt
        return []
    found: dict[str, str] = {}
    for run in reversed(runs):
        for name in (run.job_id, run.name):
            found.setdefault(name, run.path.name)
    return [CompletionItem(n, help=text) for n, text in found.items() if n.startswith(incomplete)]


def complete_group(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """For shells: the groups and ranks of the job that was named before."""
    from click.shell_completion import CompletionItem

    from launcher.run.find import find_run

    try:
        given = str(ctx.params.get("runs") or "") or os.environ.get("SGL_LAUNCH_RUNS") or site_value("runs") or "runs"
        groups = find_run(ctx.params.get("job"), Path(expanded(given))).plan().groups
    except Exception:
        return []
    names = [n for g in groups for n in (g.name, *(f"{g.name}:{r.rank}" for r in g.ranks))]
    return [CompletionItem(n) for n in names if n.startswith(incomplete)]


job_argument = click.argument("job", required=False, shell_complete=complete_job)
