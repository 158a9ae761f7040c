"""Engines: what a worker, the services and the frontend are. One module each."""

from __future__ import annotations

from launcher.config import Config
from launcher.engines.base import Command, Context, Engine

__all__ = ["Command", "Context", "Engine", "engine_for"]


def engine_for(config: Config) -> Engine:
    """The engine that the config names. A new one is a module here and a name in the schema."""
    if config.engine == "mocker":
        from launcher.engines.mocker import MockerEngine

        return MockerEngine()
    from launcher.engines.dynamo import DynamoEngine

    return DynamoEngine()
