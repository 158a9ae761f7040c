"""`sgl-launch warmup --kernels CONFIG`: plan, learn, or build DeepGEMM's kernels without a deployment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from launcher.base.errors import InputError, WorkError
from launcher.base.files import own_command
from launcher.commands.options import as_input_error
from launcher.config.load import load_config
from launcher.kernels.wish import job_of, manifest_of
from launcher.plan.make import kernels_plan, make_plan
from launcher.plan.model import Cluster
from launcher.run.folder import RunFolder


def show_plan(config: str, sets: tuple[str, ...], as_json: bool) -> None:
    """The table of what would be built: role, layer, type, N, K, groups, number of Ms. No GPU."""
    from warmup.kernels import ERRORS, plan_json, plan_table

    loaded, source = load_config(config, sets)
    make_plan(loaded, source)
    with as_input_error(*ERRORS):
        manifest = manifest_of(loaded.model_dump(mode="json"))
    click.echo(json.dumps(plan_json(manifest), indent=1) if as_json else plan_table(manifest), nl=as_json)


def learn(log: Path, out: Path | None) -> None:
    """A manifest from the lines that SGLang logs while it compiles."""
    from warmup.kernels import ERRORS, learn_file, plan_table

    try:
        with as_input_error(*ERRORS):
            manifest = learn_file(log, sglang=None, chunked_prefill=None, fast=False)
    except OSError as e:
        raise InputError(f"{log}: {e.strerror}") from None
    if out is not None:
        manifest.write(out)
        click.echo(f"wrote {out}; name it as warmup.kernels.manifest", err=True)
    click.echo(plan_table(manifest), nl=False)


def build_here(config: str, sets: tuple[str, ...]) -> None:
    """Build on this machine, with all its GPUs and cores, into the archive of the config's jobs."""
    from warmup.kernels import ERRORS

    loaded, _ = load_config(config, sets)
    python = loaded.python or sys.executable
    package_folder = Path(__file__).resolve().parent.parent.parent
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "kernels.json"
        with as_input_error(*ERRORS):
            job_of(loaded, Path(loaded.runs), manifest_of(loaded.model_dump(mode="json"))).write(told)
        path = os.pathsep.join(p for p in (str(package_folder), os.environ.get("PYTHONPATH")) if p)
        words = [python, "-m", "warmup.kernels", "ensure", str(told)]
        done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        raise WorkError("the kernels were not built; what is whole is kept, run it again to go on")


def submit_kernels(
    config: str, sets: tuple[str, ...], cluster: Cluster, start: Callable[..., tuple[RunFolder, str]]
) -> tuple[RunFolder, str]:
    """A one-node job that builds them; returns its run folder and what sbatch printed."""
    from launcher.render import render

    loaded, source = load_config(config, sets)
    if not loaded.keeps_caches:
        raise InputError(source.problem("the config has no stage `kernels`: nothing to build", "warmup", "kernels"))
    plan = kernels_plan(make_plan(loaded, source, cluster))
    return start(plan, render(plan, own_command()), cluster, ())
