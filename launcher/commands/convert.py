"""`sgl-launch convert FILE`: a file of another launcher becomes a config."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

from launcher.base.errors import InputError, Problem
from launcher.convert import SGLANG, Converted, convert_command, convert_file, selectors
from launcher.convert.argv import is_command
from launcher.convert.reader import read_text


@click.command("convert")
@click.argument("words", metavar="FILE | -- COMMAND", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", metavar="OUT", help="Write the config here instead of stdout.")
@click.option("--variant", metavar="NAME", help="Which recipe of a file that holds several.")
@click.option("--all", "every", is_flag=True, help="Every recipe of the file, each as NAME.yaml in the folder OUT.")
@click.option(
    "--srtslurm", metavar="FILE", help="srt-slurm's cluster file: its names for models and images are put in."
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
    if is_command(words):
        _write(convert_command(words, sglang), output)
        return
    file, *more = map(Path, words)
    if output is not None and not every and os.path.realpath(output) in map(os.path.realpath, (file, *more)):
        raise InputError(Problem("this is FILE itself; write the config elsewhere", None, output))
    cluster = Path(srtslurm) if srtslurm else None
    if not every:
        _write(convert_file(file, variant, sglang, more, cluster), output)
        return
    if output is None:
        raise InputError(Problem("every recipe of a file needs a folder: give -o OUT", None, "--all"))
    found: list[str | None] = [*selectors(read_text(file), str(file))] or [None]
    Path(output).mkdir(parents=True, exist_ok=True)
    bad = False
    for selector in found:
        converted = convert_file(file, selector, sglang, (), cluster)
        name = re.sub(r"[^\w.-]+", "-", selector or file.stem).strip("-")
        (Path(output) / f"{name}.yaml").write_text(converted.text, encoding="utf-8")
        counts = _counts(converted)
        click.echo(f"{name}.yaml: {counts or 'converted'}", err=True)
        bad = bad or bool(converted.problems)
    sys.exit(1 if bad else 0)


def _write(converted: Converted, output: str | None) -> None:
    if output is None:
        click.echo(converted.text, nl=False)
    else:
        try:
            Path(output).write_text(converted.text, encoding="utf-8")
        except OSError as e:
            raise InputError(f"{output} can't be written: {e.strerror}") from None
    for note in converted.notes:
        click.echo(f"{WORDS[note.kind]}: {note}", err=True)
    counts = _counts(converted)
    click.echo(f"sgl-launch: converted{f'; {counts}' if counts else ''}", err=True)
    if converted.problems:
        sys.exit(1)


WORDS = {"set": "to be set", "warning": "look at this", "dropped": "not carried over"}


def _counts(converted: Converted) -> str:
    counts = {k: sum(n.kind == k for n in converted.notes) for k in WORDS}
    return ", ".join(f"{counts[k]} {w}" for k, w in WORDS.items() if counts[k])

