"""`sgl-launch serve CONFIG --for 7d`: a chain of jobs under one name, each of which hands over to the next."""

from __future__ import annotations

import time
from pathlib import Path

import click

from launcher.base.errors import InputError
from launcher.commands.options import planned, set_option
from launcher.commands.submit import command as submit
from launcher.config.running import span


def seconds(text: str) -> int:
    """`7d`, `12h`, `90m`, `45s`. Raises InputError."""
    found = span(text)
    if not isinstance(found, int) or not found:
        raise InputError(f"--for {text!r} is no length of time; examples: 7d, 12h, 90m")
    return found


@click.command("serve")
@click.argument("config")
@set_option
@click.option("--for", "length", default="7d", show_default=True, metavar="TIME", help="How long: 7d, 12h, 90m.")
@click.option("--lead", type=float, metavar="SECONDS", help="service.lead: the next job may start so long before a "
              "job's end.")  # fmt: skip
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH OPTIONS]")
@click.pass_context
def command(
    ctx: click.Context, config: str, sets: tuple[str, ...], length: str, lead: float | None, options: tuple[str, ...]
) -> None:
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
    keys = service_folder(runs, plan.config.name)
    if not (keys / "admin-key").exists():
        make_keys(keys, guarded=True)
    options = (*link_options(runs, plan.config.name), *options)
    ctx.invoke(
        submit, config=config, sets=sets, cluster="slurm", dry_run=False, target=None, timeout=None,
        after_kernels=False, no_check=False, parsable=False, options=options,
    )  # fmt: skip
