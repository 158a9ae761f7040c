"""Options and arguments that several commands share."""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.base.counting import counted
from launcher.base.errors import InputError, Problem
from launcher.begin.complete import complete_config, complete_set
from launcher.config.paths import expanded
from launcher.config.site import site_value

if TYPE_CHECKING:
    from launcher.plan.model import Cluster, Plan

set_option = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_set,
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
    return click.argument("config", shell_complete=complete_config)(set_option(cluster_option(function)))


def planned(config: str, sets: tuple[str, ...], cluster: Cluster) -> Plan:
    """Load and plan. Raises InputError."""
    from launcher.config.load import load_config
    from launcher.front.planes import with_planes
    from launcher.plan.make import make_plan

    loaded, source = load_config(config, sets)
    return make_plan(with_planes(loaded, cluster == "local"), source, cluster)


def offline_checks(config: str, sets: tuple[str, ...], cluster: Cluster, refuse: bool) -> None:
    """The checks that ask nobody. Raises InputError with the errors if `refuse`, else says in a line that there are
    some; of warnings it says how many, and where to read them."""
    from launcher.check import check_config
    from launcher.config.secrets import SECRET

    checked = check_config(config, sets, cluster, ask_slurm=False, look=refuse)
    read = f"`{shlex.join(['sgl-launch', 'check', config, *(f'--set={item}' for item in sets)])}` shows them"
    for finding in checked.findings:
        if finding.problem.message.startswith(SECRET):  # to be known before it is in files
            click.echo(f"sgl-launch: {finding}", err=True)
    found = [finding.problem for finding in checked.findings if finding.level == "error"]
    if found and refuse:
        raise InputError(*found, Problem("nothing was submitted; --no-check submits all the same"))
    if found:
        click.echo(f"sgl-launch: warning: the config has {counted(len(found), 'error')}: {read}", err=True)
    elif checked.warnings:
        click.echo(f"sgl-launch: {counted(checked.warnings, 'warning')} about the config: {read}", err=True)


@contextlib.contextmanager
def as_input_error(*kinds: type[Exception]) -> Iterator[None]:
    """Raises InputError in place of exceptions of these kinds."""
    try:
        yield
    except kinds as e:
        raise InputError(str(e)) from None


def complete_job(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """For shells: ids and names of the runs that begin so, the newest first."""
    from click.shell_completion import CompletionItem

    from launcher.run.find import look_up

    found: dict[str, str] = {}
    with contextlib.suppress(Exception):  # a broken site file is no reason to break the user's prompt
        for run in reversed(look_up(ctx.params["runs"]).runs):
            for name in (run.job_id, run.name):
                found.setdefault(name, run.path.name)
    return [CompletionItem(n, help=text) for n, text in found.items() if n.startswith(incomplete)]


def complete_group(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """For shells: the groups and ranks of the job that was named before."""
    from launcher.run.find import find_run

    with contextlib.suppress(Exception):
        groups = find_run(ctx.params["job"], ctx.params["runs"]).plan().groups
        names = [n for g in groups for n in (g.name, *(f"{g.name}:{r.rank}" for r in g.ranks))]
        return [n for n in names if n.startswith(incomplete)]
    return []


job_argument = click.argument("job", required=False, shell_complete=complete_job)


def find_its_run(function: Callable[..., Any]) -> Callable[..., Any]:
    """--runs; with it the argument JOB becomes `run`, the run folder."""

    @functools.wraps(function)
    def with_run(job: str | None, runs: Path, **others: Any) -> Any:
        from launcher.run.find import find_run

        return function(run=find_run(job, runs), **others)

    return runs_option(with_run)
