"""`sgl-launch convert FILE`: a file of another launcher becomes a config."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from launcher.base.errors import InputError, Problem
from launcher.convert import SGLANG, Converted, convert_file


@click.command("convert")
@click.argument("file", type=click.Path())
@click.option("-o", "--output", metavar="OUT", help="Write the config here instead of stdout.")
@click.option("--variant", metavar="NAME", help="Which recipe of a file that holds several.")
@click.option(
    "--sglang",
    metavar="VERSION",
    default=SGLANG,
    show_default=True,
    help="The SGLang version whose names the flags get.",
)
def command(file: str, output: str | None, variant: str | None, sglang: str) -> None:
    """Turn FILE into a config: a Dynamo service file of 2025, or an srt-slurm recipe.

    What has no counterpart is listed on stderr and at the end of the config, as is what is still
    to be set. Exit status 1: the config is written, but needs work before it can be planned.
    """
    if output is not None and os.path.realpath(file) == os.path.realpath(output):
        raise InputError(Problem("this is FILE itself; write the config elsewhere", None, output))
    converted = convert_file(Path(file), variant, sglang)
    if output is None:
        click.echo(converted.text, nl=False)
    else:
        try:
            Path(output).write_text(converted.text, encoding="utf-8")
        except OSError as e:
            raise InputError(f"{output} can't be written: {e.strerror}") from None
    _report(converted)
    if converted.problems:
        sys.exit(1)


def _report(converted: Converted) -> None:
    words = {"set": "to be set", "warning": "look at this", "dropped": "not carried over"}
    for note in converted.notes:
        click.echo(f"{words[note.kind]}: {note}", err=True)
    counts = {k: sum(n.kind == k for n in converted.notes) for k in words}
    summary = ", ".join(f"{counts[k]} {w}" for k, w in words.items() if counts[k])
    click.echo(f"sgl-launch: converted{f'; {summary}' if summary else ''}", err=True)
