"""`sgl-launch schema`: the config reference, or the JSON Schema."""

from __future__ import annotations

import json

import click

from launcher.commands.options import json_option


@click.command("schema")
@json_option
def command(as_json: bool) -> None:
    """Print the config reference as Markdown (docs/config.md), or the JSON Schema for editors.

    An editor reads it by a first line in the file: # yaml-language-server: $schema=/path/sgl-launch.json
    """
    if as_json:
        from launcher.begin.editor import json_schema

        click.echo(json.dumps(json_schema(), indent=1))
        return
    from launcher.config.reference import markdown

    click.echo(markdown(), nl=False)
