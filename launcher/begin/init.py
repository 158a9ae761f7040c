"""`sgl-launch init [NAME]`: a first site file or config, from what there is here."""

from __future__ import annotations

import os
from pathlib import Path

import click

from launcher.base.errors import InputError
from launcher.begin.complete import complete_shipped


@click.command("init")
@click.argument("base", required=False, metavar="[NAME]", shell_complete=complete_shipped)
@click.option("-o", "--output", metavar="FILE", help="Where to write it; - prints it.")
@click.option("--rehearse", is_flag=True, help="With NAME: for a rehearsal without GPUs, image and weights.")
def command(base: str | None, output: str | None, rehearse: bool) -> None:
    """Write a first site file, or with NAME a first config on top of one that ships (`sgl-launch configs` lists them).

    It looks at Slurm's partitions and their GPUs, container images, model folders and network interfaces. An existing
    file is never overwritten.
    """
    from launcher.begin.write import config_text, site_text, user_site_file

    if base is None:
        if rehearse:
            raise click.UsageError("--rehearse needs NAME, such as: sgl-launch init dsr1 --rehearse")
        _write(site_text(), Path(output or user_site_file()), "sgl-launch configs, then: sgl-launch init NAME")
        return
    from launcher.config.load import find_config

    path = find_config(base)
    stem = path.stem
    name = f"{stem}-rehearsal" if rehearse else f"my-{stem}"
    text, missing = config_text(stem, path, name, rehearse)
    written = Path(output or f"{name}.yaml")
    for one in missing:
        click.echo(f"sgl-launch: still to be set in {written}: {one}", err=True)
    _write(text, written, f"sgl-launch check {written}")


def _write(text: str, path: Path, after: str) -> None:
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path} is there already and is kept; -o FILE writes another one, -o - prints it") from None
    except OSError as e:
        raise InputError(f"{path} can't be written: {e.strerror}") from None
    click.echo(os.fspath(path))
    click.echo(f"next: {after}", err=True)
