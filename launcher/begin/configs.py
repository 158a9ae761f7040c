"""`sgl-launch configs`: what ships, how large it is and what it was run on."""

from __future__ import annotations

import json
import textwrap

import click

from launcher.begin.shipped import shipped


@click.command("configs")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the configs that ship with sgl-launch: size, what each is, and what it was run on.

    Each name works as CONFIG and as `base`: sgl-launch plan dsr1.
    """
    found = shipped()
    if as_json:
        click.echo(json.dumps([one.json() for one in found], indent=2))
        return
    wide = max(len(one.name) for one in found) + 2
    click.echo(f"{'config':<{wide}}{'nodes':>5}{'GPUs':>6}  what, and what it was run on")
    for one in found:
        head, blank = f"{one.name:<{wide}}{one.nodes:>5}{one.gpus:>6}  ", " " * (wide + 13)
        for text in (one.what, f"run on: {one.run_on}"):
            lines = textwrap.wrap(text, 80 - len(blank))
            click.echo("\n".join([head + lines[0], *(blank + line for line in lines[1:])]))
            head = blank
    click.echo("\nsgl-launch init NAME writes a config of your own on top of one of these", err=True)
