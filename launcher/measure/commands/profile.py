"""`sgl-launch profile [JOB] --group GROUP`: SGLang's torch profiler, or nsys, over a few steps."""

from __future__ import annotations

import click

from launcher.commands.options import find_its_run, job_argument
from launcher.run.folder import RunFolder


@click.command("profile")
@job_argument
@click.option(
    "--group", required=True, metavar="GROUP", help="Worker group, such as decode-0; all its ranks are profiled."
)
@click.option("--steps", type=click.IntRange(min=1), default=10, show_default=True, help="Steps of the scheduler.")
@click.option("--cpu-only", is_flag=True, help="Leave the GPU's kernels out: smaller traces.")
@click.option("--nsys", is_flag=True, help="Have nsys record them, for a group that was started under it.")
@click.option("--load/--no-load", default=False, help="Send requests meanwhile, four at a time.")
@click.option("--timeout", type=float, default=120, show_default=True, metavar="SECONDS", help="Limit for the traces.")
@find_its_run
def command(run: RunFolder, group: str, steps: int, cpu_only: bool, nsys: bool, load: bool, timeout: float) -> None:
    """Record what a group's ranks do in their next steps, into RUN/profiles.

    The files open in https://ui.perfetto.dev (drag them there) or chrome://tracing. The engine is slower while it
    records. With --nsys the files are Nsight Systems' (docs/measure.md says how a group is started under nsys).
    """
    from launcher.measure import profile

    if nsys and cpu_only:
        raise click.UsageError("--nsys and --cpu-only exclude each other")
    activities = profile.NSYS if nsys else ("CPU",) if cpu_only else profile.TORCH
    for file in profile.start(run, group, steps, activities, timeout, load):
        click.echo(str(file))
    click.echo("open them with nsys-ui" if nsys else "open them in https://ui.perfetto.dev", err=True)
