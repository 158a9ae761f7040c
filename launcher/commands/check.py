"""`sgl-launch check CONFIG`: every mistake at once, before the job queues."""

from __future__ import annotations

import json
import sys

import click

from launcher.commands.options import as_input_error, config_argument, json_option
from launcher.plan.model import Cluster


@click.command("check")
@config_argument
@click.option("--sglang", "version", metavar="VERSION", help="Check the flags against this SGLang version.")
@click.option(
    "--installed",
    is_flag=False,
    flag_value="python3",
    metavar="[PYTHON]",
    help="Check the flags against the SGLang that this Python has (python3 if not given).",
)
@click.option("--image", is_flag=True, help="Run the container's image once, to learn the versions in it.")
@click.option("--no-slurm", is_flag=True, help="Do not ask sbatch --test-only.")
@json_option
def command(
    config: str,
    sets: tuple[str, ...],
    cluster: Cluster,
    version: str | None,
    installed: str | None,
    image: bool,
    no_slurm: bool,
    as_json: bool,
) -> None:
    """Report every problem in CONFIG, with file, line and column.

    Errors stop a deployment (exit status 2), warnings may be meant (exit status 0).
    """
    from launcher.catalog.installed import installed_catalog
    from launcher.catalog.releases import CatalogError
    from launcher.check import check_config

    if version and installed:
        raise click.UsageError("give --sglang or --installed, not both")
    with as_input_error(CatalogError):
        catalog = installed_catalog(installed) if installed else None
    checked = check_config(config, sets, cluster, catalog, version, ask_slurm=not no_slurm, ask_image=image)
    if as_json:
        found = {
            "config": config,
            "errors": checked.errors,
            "warnings": checked.warnings,
            "findings": [f.json() for f in checked.findings],
            "checked_against": checked.catalog,
            "notes": list(checked.notes),
        }
        click.echo(json.dumps(found, indent=2))
    else:
        for finding in checked.findings:
            click.echo(str(finding))
        counts = f"{_count(checked.errors, 'error')}, {_count(checked.warnings, 'warning')}"
        against = f" (flags of {checked.catalog})" if checked.catalog else ""
        click.echo(f"{config}: {counts}{against}", err=True)
        for note in checked.notes:
            click.echo(note, err=True)
    sys.exit(2 if checked.errors else 0)


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"
