"""`sgl-launch convert FILE`: a file of another launcher becomes a config."""

from __future__ import annotations

import click

from launcher.convert import SGLANG
from launcher.convert.run import run


@click.command("convert")
@click.argument("words", metavar="FILE | -- COMMAND", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", metavar="OUT", help="Write the config here instead of stdout.")
@click.option("--variant", metavar="NAME", help="Which recipe of a file that holds several.")
@click.option("--all", "every", is_flag=True, help="Every recipe of the file, each as NAME.yaml in the folder OUT.")
@click.option(
    "--srtslurm", metavar="FILE", help="srt-slurm's cluster file; its aliases of models and images are resolved."
)
@click.option(
    "--sglang",
    metavar="VERSION",
    help=f"The SGLang version whose names the flags get: the image's unless it is given; {SGLANG} where nothing tells.",
)
def command(
    words: tuple[str, ...],
    output: str | None,
    variant: str | None,
    every: bool,
    srtslurm: str | None,
    sglang: str | None,
) -> None:
    """Turn FILE into a config: a Dynamo service file of 2025 (or those of all nodes), an srt-slurm recipe of either
    schema, or srt-slurm's cluster file, which becomes a site file.

    `convert -- python -m sglang.launch_server ...` takes a server's command line instead, or two of them set apart by
    a further `--`; `convert -- python submit_job_script.py ...` that of Dynamo's slurm_jobs.

    What has no counterpart is listed on stderr and at the end of the config, as is what is still
    to be set. Exit status 1: the config is written, but needs work before it can be planned.
    """
    run(words, output, variant, every, srtslurm, sglang)
