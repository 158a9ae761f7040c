"""`sgl-launch submit CONFIG`: render, hand over, and wait if asked to."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from launcher.base.files import own_command
from launcher.begin.complete import complete_config
from launcher.commands.options import offline_checks, planned, set_option
from launcher.config.load import find_config
from launcher.config.secrets import check_env_from
from launcher.plan.model import Cluster, Plan
from launcher.render import render
from launcher.run.folder import RunFolder

Where = Literal["slurm", "local", "here"]


@click.command("submit")
@click.argument("config", shell_complete=complete_config)
@set_option
@click.option(
    "--cluster",
    type=click.Choice(["slurm", "local", "here"]),
    default="slurm",
    show_default=True,
    help="Where the deployment runs: a Slurm cluster, this machine, or the nodes of the allocation that this shell "
    "has (inside salloc).",
)
@click.option("--dry-run", is_flag=True, help="Print the script and the command; start nothing.")
@click.option(
    "--wait",
    "target",
    type=click.Choice(["ready", "warm", "done"]),
    help="Return only when the job has reached this state.",
)
@click.option("--timeout", type=float, metavar="SECONDS", help="Give up waiting after this.")
@click.option(
    "--after-kernels",
    is_flag=True,
    help="Build the kernels in a one-node job first; this one waits for it in the queue.",
)
@click.option("--no-check", is_flag=True, help="Submit even though the config has errors that `check` finds.")
@click.option("--parsable", is_flag=True, help="Print the job's id alone (ID[;cluster]).")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH OPTIONS]")
def command(
    config: str,
    sets: tuple[str, ...],
    cluster: Where,
    dry_run: bool,
    target: str | None,
    timeout: float | None,
    after_kernels: bool,
    no_check: bool,
    parsable: bool,
    options: tuple[str, ...],
) -> None:
    """Start the deployment that CONFIG describes.

    What stands after `--` goes to sbatch as it is: submit CONFIG -- --reservation=night
    """
    kind: Cluster = "local" if cluster == "local" else "slurm"
    plan = planned(config, sets, kind)
    if after_kernels and cluster != "slurm":
        raise click.UsageError("--after-kernels is for Slurm's queue; run `warmup --kernels` first")
    if options and cluster != "slurm":
        raise click.UsageError("options after -- are sbatch's, which only --cluster slurm calls")
    # the job's supervisor is this very installation, whatever PATH and environment the job gets
    script = render(plan, "sgl-launch" if dry_run else own_command())
    if not no_check:
        offline_checks(config, sets, kind, refuse=not dry_run)
    if dry_run:
        click.echo(script, nl=False)
        words = ["bash", "job.sh"]
        if cluster == "slurm":
            from launcher.executors.slurm import sbatch_command

            words = sbatch_command("job.sh", Path(plan.config.runs), plan.config.name, options)
        click.echo(f"# {shlex.join(words)}")
        return
    check_env_from(plan.config)
    if cluster == "slurm":
        _say_surroundings(plan)
    from launcher.config.effective import effective

    whole = effective(config, sets, plan.config)
    if after_kernels:
        from launcher.commands.warmup_kernels import submit_kernels

        first, _ = submit_kernels(config, sets, "slurm", start)
        click.echo(f"{first.name}: job {first.job_id}, {first.path}", err=True)
        options = (f"--dependency=afterok:{first.job_id}", "--kill-on-invalid-dep=yes", *options)
    os.umask(os.umask(0) | 0o027)  # logs and configs are no business of everyone
    run, shown = start(plan, script, cluster, options)
    # first of all: from here on there is a job, whatever else fails
    click.echo(shown if parsable else f"{plan.config.name}: job {run.job_id}, {run.path}")
    how = {"config": config, "set": list(sets), "cluster": cluster, "options": list(options)}
    _keep(run, config, whole, {**how, "slurm_cluster": shown.partition(";")[2]})
    if not target and not parsable and sys.stderr.isatty():
        click.echo(f"next: sgl-launch wait {run.job_id} --for ready, or sgl-launch status {run.job_id}", err=True)
    if target:
        from launcher.run.follow import wait_for

        try:
            wait_for(run, target, timeout, lambda line: click.echo(line, err=True))
        except KeyboardInterrupt:
            click.echo(f"the job goes on; end it with: sgl-launch cancel {run.job_id}", err=True)
            raise
        endpoint = run.endpoint()
        if endpoint and not parsable:
            click.echo(f"{target} at {endpoint.shown} (model {endpoint.model})")


def _keep(run: RunFolder, config: str, whole: str, how: dict[str, Any]) -> None:
    """What was submitted, into the run folder; says what could not be written."""
    missing = {}
    writers: dict[str, Callable[[], object]] = {
        "config.yaml": lambda: shutil.copyfile(find_config(config), run.path / "config.yaml"),
        "effective.yaml": lambda: (run.path / "effective.yaml").write_text(whole, encoding="utf-8"),
        "submit.json": lambda: run.write_json("submit.json", how),
    }
    for file, write in writers.items():
        try:
            write()
        except OSError as e:
            missing[file] = str(e.strerror)
    if missing:
        files, why = ", ".join(missing), "; ".join(dict.fromkeys(missing.values()))
        click.echo(f"sgl-launch: warning: not written to {run.path}: {files} ({why}); the job goes on", err=True)


def _say_surroundings(plan: Plan) -> None:
    """Warnings about what this shell has that concerns the job."""
    from launcher.executors.here import allocation
    from launcher.executors.sbatch import said_of

    said = said_of(os.environ, plan.config.sbatch_options)
    if found := allocation():
        said.append(f"this shell has an allocation (job {found[0]}); `--cluster here` runs in it instead of queueing")
    for line in said:
        click.echo(f"sgl-launch: warning: {line}", err=True)


def start(plan: Plan, script: str, cluster: Where, options: tuple[str, ...]) -> tuple[RunFolder, str]:
    """Hand a script over; returns its run folder and what is printed with --parsable."""
    runs = Path(plan.config.runs).absolute()
    env = {"SGL_LAUNCH": own_command()}
    if cluster == "here":
        from launcher.executors.here import start_here

        run = start_here(runs, plan.config.name, script, plan.nodes + plan.spare_nodes, env)
        return run, run.job_id
    if cluster == "local":
        from launcher.executors import local

        run = local.ScriptExecutor(runs, plan.config.name, script, env).submit_script()
        return run, run.job_id
    from launcher.executors import slurm

    sbatch = slurm.ScriptExecutor(runs, plan.config.name, script, options, plan.config.sbatch_options)
    run, shown = sbatch.submit_script()
    for problem in sbatch.problems:
        click.echo(f"sgl-launch: warning: job {run.job_id}: {problem}", err=True)
    return run, shown
