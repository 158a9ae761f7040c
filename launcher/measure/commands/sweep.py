"""`sgl-launch sweep FILE`: variants of a config, measured one after another."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from launcher.commands.options import cluster_option, json_option
from launcher.plan.model import Cluster


@click.command("sweep")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for results and runs (default: FILE without .yaml)."
)
@cluster_option
@json_option
def command(file: Path, out: Path | None, cluster: Cluster, as_json: bool) -> None:
    """Submit each variant in FILE, wait until it is warm, bench it, end it; one table and one Pareto front at the end.

    Called again, it goes on with the variants that have no bench.json yet. A variant that fails does not stop the
    others. Exit status 1 when one failed or a point is invalid.
    """
    from launcher.measure import report, variants

    plan = variants.read(file)
    folder = out or file.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the job that runs is ended as well
    outcome = variants.run(plan, folder, ["--cluster", cluster], lambda line: click.echo(line, err=True))
    found = variants.collect(plan, folder)
    failed = {v.name: why for v, why in outcome if why}
    facts = {
        "name": file.stem, "model": plan.config, "address": None, "gpus": None,
        "failed": failed,
    }  # fmt: skip
    report.write(found, facts, folder)
    report.show(found, facts, folder, as_json)
    for name, why in failed.items():
        click.echo(f"{name} failed: {why}", err=True)
    sys.exit(1 if failed or not all(r.valid for r in found) else 0)
