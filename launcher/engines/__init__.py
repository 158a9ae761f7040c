"""Engines: what a worker, the services and the frontend are. One module each (launcher.base.plugins)."""

from __future__ import annotations

from typing import cast

from launcher.base.plugins import ENGINES
from launcher.config import Config
from launcher.engines.base import Command, Context, Engine, Worker

__all__ = ["Command", "Context", "Engine", "Worker", "engine_for"]


def engine_for(config: Config) -> Engine:
    """The engine that the config names (the schema has checked the name)."""
    return cast(Engine, ENGINES.load(config.engine)())
