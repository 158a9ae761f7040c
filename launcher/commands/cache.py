"""`sgl-launch cache list|show|verify|prune`: the archives of a cache folder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from launcher.base.counting import counted
from launcher.base.errors import InputError, WorkError
from launcher.commands.options import as_input_error, json_option


def _usual() -> Path:
    """Where jobs keep archives without a config's own word."""
    from launcher.config.site import site_value

    return Path(site_value("warmup.kernels.cache_dir") or Path(site_value("runs") or "runs", f"kernels_{os.geteuid()}"))


_folder = click.option(
    "--cache-dir",
    "folder",
    default=_usual,
    envvar="SGL_LAUNCH_CACHE_DIR",
    type=click.Path(path_type=Path),
    help="The config's warmup.kernels.cache_dir (default: the site file's, or kernels_UID beside the run folders).",
)


@click.group("cache")
def command() -> None:
    """What kernel archives there are, whether they are sound, and which to remove."""


@command.command("list")
@_folder
@json_option
def list_(folder: Path, as_json: bool) -> None:
    """List the archives, last used first."""
    from warmup.kernels import entries

    found = entries(folder)
    if as_json:
        click.echo(json.dumps([e.to_json() for e in found], indent=1))
        return
    if not found:
        click.echo(f"no archives in {folder}", err=True)
        return
    click.echo(f"{'kernels':>7} {'files':>6} {'size':>10} {'used':>12}  archive")
    for entry in found:
        held = entry.contents
        numbers = f"{len(held.kernels):>7} {len(held.files):>6}" if held else f"{'bad':>7} {'':>6}"
        age = (time.time() - entry.used) / 86400
        click.echo(f"{numbers} {entry.bytes / 1e6:>7.1f} MB {age:>7.1f} days  {entry.name}")


@command.command("show")
@_folder
@click.argument("name")
def show(folder: Path, name: str) -> None:
    """Show one archive: what it is for and what it holds."""
    from warmup.kernels import StoreError
    from warmup.kernels import show as find

    with as_input_error(StoreError):
        click.echo(json.dumps(find(folder, name).to_json(), indent=1))


@command.command("verify")
@_folder
@click.argument("names", nargs=-1)
def verify(folder: Path, names: tuple[str, ...]) -> None:
    """Check every byte of the archives (all, or those named). Exit status 1 if one is bad."""
    from warmup.kernels import StoreError
    from warmup.kernels import verify as check

    with as_input_error(StoreError):
        checked = check(folder, names)
    for entry in checked:
        click.echo(f"{'bad ' if entry.problem else 'good'}  {entry.name}{_why(entry)}")
    bad = [e for e in checked if e.problem]
    if bad:
        raise WorkError(f"bad: {len(bad)} of {counted(len(checked), 'archive')}; `cache prune` removes them")


@command.command("prune")
@_folder
@click.option("--days", type=float, help="Not used for so many days.")
@click.option("--keep", type=int, help="All but so many.")
@click.option("--max-gb", type=float, help="Until the rest fits.")
@click.option("--dry-run", is_flag=True, help="Only say which.")
def prune(folder: Path, days: float | None, keep: int | None, max_gb: float | None, dry_run: bool) -> None:
    """Remove archives, least recently used first."""
    from warmup.kernels import StoreError
    from warmup.kernels import prune as remove

    limit = int(max_gb * 1e9) if max_gb is not None else None
    try:
        gone = remove(folder, days=days, keep=keep, max_bytes=limit, dry_run=dry_run)
    except StoreError as e:
        raise InputError(f"{e}: give --days, --keep or --max-gb") from None
    for entry in gone:
        click.echo(f"{'would remove' if dry_run else 'removed'}  {entry.name}{_why(entry)}")
    if not gone:
        click.echo("nothing to remove", err=True)


def _why(entry: Any) -> str:
    return f"  ({entry.problem})" if entry.problem else ""
