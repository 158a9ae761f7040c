"""The commands of single jobs, which know the name of a service too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from launcher.front.keys import service_folder


def has_keys(name: str, runs: Path) -> bool:
    """Whether `serve` was ever called for this name: the keys stay for the next time."""
    return service_folder(runs, name).is_dir()


def is_service(name: str | None, runs: Path) -> bool:
    """Whether a name means a service now: its newest job is one of it, or some job of it has not ended. A plain job may
    have the name of a former service."""
    if not name or not has_keys(name, runs):
        return False
    from launcher.run.find import look_up
    from launcher.service.links import links

    newest = next((run for run in reversed(look_up(runs).runs) if run.name == name), None)
    return newest is not None and (newest.of_service or any(link.living for link in links(name, runs)))


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
