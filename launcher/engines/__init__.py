"""Engines: what a worker, the services and the frontend are. One module each.

A further one is a module and a line in ENGINES, or an entry point `sgl_launch.engines` of any
installed package (docs/engines.md).
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import cast

from launcher.config import Config
from launcher.engines.base import Command, Context, Engine, Worker

__all__ = ["ENGINES", "Command", "Context", "Engine", "Worker", "engine_for", "engine_names"]

ENGINES = {
    "dynamo": "launcher.engines.dynamo:DynamoEngine",
    "sglang": "launcher.engines.sglang:SglangEngine",
    "mocker": "launcher.engines.mocker:MockerEngine",
    "dynamo-serve": "launcher.engines.dynamo_serve:DynamoServeEngine",
}


def engine_names() -> list[str]:
    """Every engine that a config may name: ours, then those of installed packages."""
    return [*ENGINES, *(e.name for e in entry_points(group="sgl_launch.engines"))]


def engine_for(config: Config) -> Engine:
    """The engine that the config names (the schema has checked the name)."""
    if config.engine in ENGINES:
        module, _, name = ENGINES[config.engine].partition(":")
        return cast(Engine, getattr(import_module(module), name)())
    (found,) = entry_points(group="sgl_launch.engines", name=config.engine)
    return cast(Engine, found.load()())
