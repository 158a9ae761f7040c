"""The commands of single jobs, which know the name of a service too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from launcher.front.keys import service_folder


def is_service(name: str | None, runs: Path) -> bool:
    return bool(name) and service_folder(runs, str(name)).is_dir()


def wrapped(core: click.Command, callback: Callable[..., Any]) -> click.Command:
    """A command like `core`, which calls another function with its arguments."""
    return click.Command(
        core.name, params=[*core.params], callback=callback, help=core.help, context_settings=core.context_settings
    )


def current_link(name: str, runs: Path) -> str:
    """The run folder of the link that serves; of the newest where none does; the name itself where there is none."""
    from launcher.service.links import current, links

    found = links(name, runs)
    link = current(found) or next(reversed(found), None)
    return str(link.run.path) if link else name
