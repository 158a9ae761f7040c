"""What `sgl-launch convert` writes and says."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from launcher.base.errors import InputError, Problem
from launcher.convert import Converted, convert_command, convert_file, selectors
from launcher.convert.argv import is_command
from launcher.convert.reader import read_text


def run(
    words: Sequence[str], output: str | None, variant: str | None, every: bool, srtslurm: str | None, sglang: str | None
) -> None:
    """Write the config, or with `every` each of a file's, and say what there is to say. Raises InputError; exits
    with 1 if one can't be planned yet."""
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

