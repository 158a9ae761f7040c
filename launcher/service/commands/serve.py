"""`sgl-launch serve CONFIG --for 7d`: a chain of jobs under one name, each of which hands over to the next."""

from __future__ import annotations

import time
from pathlib import Path

import click

from launcher.base.errors import InputError, Problem, WorkError
from launcher.commands.options import planned, set_option
from launcher.commands.submit import command as submit
from launcher.config.running import span
from launcher.plan.model import Plan


def seconds(text: str) -> int:
    """`7d`, `12h`, `90m`, `45s`. Raises InputError."""
    found = span(text)
    if not isinstance(found, int) or not found:
        raise InputError(f"--for {text!r} is no length of time; examples: 7d, 12h, 90m")
    return found


def _refuse_unfit(plan: Plan, runs: Path) -> None:
    """An update is tried on the nodes where the service runs now. Raises InputError."""
    from launcher.service.fit import unfit
    from launcher.service.links import current, links

    serving = current(links(plan.config.name, runs))
    if serving is None:
        return
    try:
        found = unfit(plan, serving.run, lambda line: click.echo(f"sgl-launch: {line}", err=True))
    except WorkError as e:
        click.echo(f"sgl-launch: warning: the nodes of job {serving.run.job_id} were not looked at: {e}", err=True)
        return
    if found:
        last = f"nothing was submitted, and job {serving.run.job_id} serves on; --no-check submits all the same"
        raise InputError(*(Problem(f"on the nodes where it runs now: {line}") for line in found), Problem(last))


@click.command("serve")
@click.argument("config")
@set_option
@click.option("--for", "length", default="7d", show_default=True, metavar="TIME", help="How long: 7d, 12h, 90m.")
@click.option("--lead", type=float, metavar="SECONDS", help="service.lead: the next job may start so long before a "
              "job's end.")  # fmt: skip
@click.option("--no-check", is_flag=True, help="Queue it whatever `check` and the nodes that serve now say.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH OPTIONS]")
@click.pass_context
def command(
    ctx: click.Context, config: str, sets: tuple[str, ...], length: str, lead: float | None, no_check: bool,
    options: tuple[str, ...],
) -> None:  # fmt: skip
    """Serve CONFIG past the walltime: jobs of its name in a chain, for so long.

    Each job queues the next one, which takes over once it is warm; the one before finishes its requests and ends.
    Called again with a changed config of the same name, the new one takes over in the same way (a rolling update).
    """
    from launcher.front.keys import make_keys, service_folder
    from launcher.service.queue import options as link_options

    sets = (*sets, f"service.until={int(time.time()) + seconds(length)}")
    if lead is not None:
        sets = (*sets, f"service.lead={lead:g}")
    plan = planned(config, sets, "slurm")
    if plan.config.warmup.requests.enabled:
        # a job that does not become warm ends, instead of taking over
        sets = (*sets, "warmup.requests.required=true")
    runs = Path(plan.config.runs).absolute()
    runs.mkdir(parents=True, exist_ok=True)
    if not no_check:
        _refuse_unfit(plan, runs)
    keys = service_folder(runs, plan.config.name)
    if not (keys / "admin-key").exists():
        make_keys(keys, guarded=True)
    options = (*link_options(runs, plan.config.name), *options)
    ctx.invoke(
        submit, config=config, sets=sets, cluster="slurm", dry_run=False, target=None, timeout=None,
        after_kernels=False, no_check=no_check, parsable=False, options=options,
    )  # fmt: skip
