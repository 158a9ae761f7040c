"""What shells complete for a CONFIG and for --set: files, configs that ship, keys."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Any

from launcher.base.files import data_path

if TYPE_CHECKING:
    import click


def shipped_names(incomplete: str) -> list[str]:
    """Names of the configs that ship and begin so."""
    return sorted(p.stem for p in data_path("configs").glob("*.yaml") if p.stem.startswith(incomplete))


def complete_shipped(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(name) for name in shipped_names(incomplete)]


def complete_config(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """YAML files and folders below the current folder, then the configs that ship; any file if there is none."""
    from click.shell_completion import CompletionItem

    found = []
    for path in sorted(glob.glob(glob.escape(incomplete) + "*")):
        if os.path.isdir(path):
            found.append(f"{path}/")
        elif path.endswith((".yaml", ".yml")):
            found.append(path)
    if "/" not in incomplete:
        found += [name for name in shipped_names(incomplete) if name not in found]
    return [CompletionItem(name) for name in found] or [CompletionItem(incomplete, type="file")]


def complete_set(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Keys of a config, a level at a time: `fr`, `frontend.`, `frontend.port=`."""
    from click.shell_completion import CompletionItem

    from launcher.config.load import valid_keys

    *above, last = incomplete.split(".")
    if "=" in incomplete:
        return []
    return [
        CompletionItem(".".join([*above, key]) + ("." if valid_keys([*above, key]) else "="))
        for key in valid_keys(above) if key.startswith(last) and key != "base"
    ]  # fmt: skip
