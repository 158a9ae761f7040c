"""The configuration: one YAML file, layered over a site file, checked and typed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.config.load import Source, load_config
    from launcher.config.schema import Config

__all__ = ["Config", "Source", "load_config"]
_WHERE = {"Config": "launcher.config.schema", "Source": "launcher.config.load", "load_config": "launcher.config.load"}


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: pydantic takes longer than all else that `status` and `list` need."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
