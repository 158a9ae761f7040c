"""`sgl-launch warmup [JOB|ADDRESS]`: the request sweep, alone and as often as one likes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from launcher.commands.options import as_input_error, cluster_option, complete_job, json_option, runs_option, set_option
from launcher.front.keys import key_of_environment
from launcher.plan.model import Cluster


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        found = tuple(int(v) for v in value.split(",")) if value else ()
    except ValueError:
        found = (0,)
    if any(n < 1 for n in found):
        raise click.BadParameter("write whole numbers above 0, as 128,4096")
    return found


@click.command("warmup")
@click.argument("target", metavar="[JOB|ADDRESS|CONFIG]", required=False, shell_complete=complete_job)
@click.option("--kernels", is_flag=True, help="Build DeepGEMM's kernels for CONFIG instead.")
@click.option("--plan", "only_plan", is_flag=True, help="With --kernels: print what would be built.")
@click.option(
    "--from-log",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --kernels: learn the shapes from SGLang's log; needs no CONFIG.",
)
@click.option("--out", type=click.Path(path_type=Path), help="With --from-log: the manifest.")
@set_option
@cluster_option
@click.option("--model", help="Served name; by default the one that is served.")
@click.option("--prompt-tokens", callback=_numbers, metavar="N,N", help="Prompt lengths.")
@click.option("--concurrency", callback=_numbers, metavar="N,N", help="Requests at once.")
@click.option("--output-tokens", callback=_numbers, metavar="N,N", help="Output lengths.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Limit for the whole sweep.")
@json_option
@runs_option
def command(
    target: str | None,
    kernels: bool,
    only_plan: bool,
    from_log: Path | None,
    out: Path | None,
    sets: tuple[str, ...],
    cluster: Cluster,
    model: str | None,
    prompt_tokens: tuple[int, ...],
    concurrency: tuple[int, ...],
    output_tokens: tuple[int, ...],
    timeout: float | None,
    as_json: bool,
    runs: Path,
) -> None:
    """Send requests of many sizes until the times are steady, and say whether it is warm.

    The target is a job (id, name or run folder; the newest without one) or an address: IP,
    HOST:PORT or a URL, port 8000 by default. An address needs no config and no job. Exit status 1
    unless the verdict is warm. A job's run folder keeps each sweep: warmup.json is the job's own,
    later ones are warmup-2.json and so on.

    With --kernels CONFIG, build the kernels that CONFIG's workers need, all at once, into the
    archive under its warmup.kernels.cache_dir: as a one-node job, or here with --cluster local.
    """
    if kernels:
        from launcher.commands import warmup_kernels
        from launcher.commands.submit import start

        if from_log is not None:
            warmup_kernels.learn(from_log, out)
        elif target is None:
            raise click.UsageError("--kernels needs a CONFIG (or --from-log FILE)")
        elif only_plan:
            warmup_kernels.show_plan(target, sets, as_json)
        elif cluster == "local":
            warmup_kernels.build_here(target, sets)
        else:
            built, shown = warmup_kernels.submit_kernels(target, sets, cluster, start)
            click.echo(f"{built.name}: job {shown}, {built.path}")
        return
    from launcher.run.target import run_or_address
    from warmup.requests import AddressError, Axes, Options, run
    from warmup.requests.show import Live, show

    options, expected, address, key, ca = Options(), None, target or "", None, None
    folder = run_or_address(target, runs)
    if folder is not None:
        from launcher.job.warm import options_from_plan
        from launcher.run.deployment import expected_workers, read_deployment

        deployment = read_deployment(folder)
        options, expected = options_from_plan(deployment.plan), expected_workers(deployment)
        address, model = deployment.endpoint, model or deployment.model
        key, ca = deployment.keys.endpoint, deployment.ca
    old = options.sizing.axes
    axes = Axes(prompt_tokens or old.prompts, concurrency or old.concurrencies, output_tokens or old.outputs)
    sizing = replace(options.sizing, axes=axes)
    options = replace(options, sizing=sizing, time_limit=timeout or options.time_limit)
    with as_input_error(AddressError), Live() as live:
        if folder is None:
            key = key_of_environment(address)
        report = run(
            address, model=model, options=options, expected_workers=expected, progress=live, api_key=key, ca_file=ca
        )
    if folder is not None:
        # the job's own sweep, the first and cold one, stays what it is
        file = folder.next_sweep()
        folder.write_json(file, report.to_dict())
        click.echo(f"written to {folder.path}/{file}", err=True)
    if as_json:
        click.echo(report.to_json(), nl=False)
    else:
        show(report)
    sys.exit(0 if report.verdict.warm else 1)
