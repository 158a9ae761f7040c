"""`sgl-launch bench [JOB|ADDRESS]`: load points, measured with aiperf, each with a verdict."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from launcher.base.errors import InputError
from launcher.commands.options import json_option, runs_option


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...]:
    try:
        found = tuple(float(v) for v in value.split(",")) if value else ()
    except ValueError:
        found = (0.0,)
    if any(n <= 0 for n in found) or (param.name != "rate" and any(n != int(n) for n in found)):
        raise click.BadParameter("write numbers above 0, as 1,16,64")
    return found if param.name == "rate" else tuple(map(int, found))


@click.command("bench")
@click.argument("target", metavar="[JOB|ADDRESS]", required=False)
@click.option("--concurrency", callback=_numbers, metavar="N,N", help="Requests at once (default: 1,8,32).")
@click.option("--rate", callback=_numbers, metavar="N,N", help="Requests a second, at random times (Poisson).")
@click.option("--prompt-tokens", callback=_numbers, default="1024", show_default=True, metavar="N,N")
@click.option("--output-tokens", callback=_numbers, default="128", show_default=True, metavar="N,N")
@click.option("--spread", type=click.FloatRange(0, 1), default=0.0, help="Standard deviation of lengths, as a share.")
@click.option("--requests", type=click.IntRange(min=1), help="Of each point (default: 6 for each at once, 32 or more).")
@click.option("--trace", type=click.Path(exists=True, dir_okay=False), help="Requests and times from a Mooncake trace.")
@click.option("--slo", metavar="ttft=0.5,itl=0.05", help="Limits in seconds (ttft, itl, e2e) for goodput.")
@click.option("--model", help="Served name; by default the one that is served.")
@click.option("--tokenizer", help="Folder of the tokenizer that makes prompts (default: the model's, if it is here).")
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs of the deployment at an address.")
@click.option("--timeout", type=float, default=1800, show_default=True, metavar="SECONDS", help="Limit of each point.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for results (default: RUN/bench/N, or bench-N).")
@json_option
@runs_option
def command(
    target: str | None,
    concurrency: tuple[int, ...],
    rate: tuple[float, ...],
    prompt_tokens: tuple[int, ...],
    output_tokens: tuple[int, ...],
    spread: float,
    requests: int | None,
    trace: str | None,
    slo: str | None,
    model: str | None,
    tokenizer: str | None,
    gpus: int | None,
    timeout: float,
    out: Path | None,
    as_json: bool,
    runs: Path,
) -> None:
    """Measure throughput and latency under load, and say whether the figures hold.

    Every concurrency (and rate) is run with every pair of lengths. A point is invalid when requests failed, answers
    had the wrong length, a worker served nothing or was restarted, times were not steady, or the client itself was the
    limit. Exit status 1 when a point is invalid. Needs the extra [bench] (aiperf).
    """
    from launcher.measure import bench, point, record, report

    try:
        limits = record.Slo(**{k: float(v) for k, v in (pair.split("=") for pair in slo.split(","))}) if slo else None
    except (ValueError, TypeError):
        raise InputError(f"--slo {slo}: write ttft=0.5,itl=0.05 or e2e=10, in seconds") from None
    if trace:
        points = [point.of_trace(Path(trace))]
    else:
        loads = concurrency or (() if rate else (1, 8, 32))
        points = point.grid(loads, rate, prompt_tokens, output_tokens, spread, requests)
    measured = bench.of(target, runs, model=model, tokenizer=tokenizer, gpus=gpus, slo=limits, limit=timeout)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is ended as well
    results, facts, folder = report.run(measured, points, out)
    report.write(results, facts, folder)
    report.show(results, facts, folder, as_json)
    sys.exit(0 if all(r.valid for r in results) else 1)
