"""`sgl-launch schema`: the config reference, or the JSON schema."""

from __future__ import annotations

import json

import click

from launcher.commands.options import json_option


@click.command("schema")
@json_option
def command(as_json: bool) -> None:
    """Print the config reference as Markdown (docs/config.md), or the JSON schema."""
    if as_json:
        from launcher.config import Config

        click.echo(json.dumps(Config.model_json_schema(), indent=2))
        return
    from launcher.config.reference import markdown

    click.echo(markdown(), nl=False)
