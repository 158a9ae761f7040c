"""`sgl-launch gateway NAME...`: one address that stays, before the current job of each service."""

from __future__ import annotations

import time
from pathlib import Path

import click

from launcher.base.errors import InputError
from launcher.commands.options import runs_option
from launcher.service.commands.wrapped import has_keys


@click.command("gateway")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--listen", default="127.0.0.1:8000", show_default=True, metavar="HOST:PORT", help="Where it listens.")
@click.option("--tls", nargs=2, metavar="CERT KEY", help="Files of its certificate and key; without, it speaks HTTP.")
@runs_option
def command(names: tuple[str, ...], listen: str, tls: tuple[str, str] | None, runs: Path) -> None:
    """Answer at one address for the services NAME..., whichever of their jobs serves now.

    It runs until it is ended, and may be begun again at any time. Several services are told apart by the model that a
    request names.
    """
    from launcher.service.gateway import serve

    runs = runs.absolute()
    for name in names:
        if not has_keys(name, runs):
            raise InputError(f"there is no service {name!r} in {runs}/; `sgl-launch serve CONFIG` makes one")
    serve(listen, names, runs, lambda text: click.echo(f"{time.strftime('%H:%M:%S')} {text}"), tls)
