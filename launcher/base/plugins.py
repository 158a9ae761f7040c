"""Engines and container runtimes by name: ours, and those of installed packages.

A further one of ours is a module and a line here; anyone else's is an entry point in the group
`sgl_launch.engines` or `sgl_launch.containers` of an installed package (docs/engines.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any


@dataclass(frozen=True)
class Registry:
    """`ours` maps a name to MODULE:ATTRIBUTE; `group` is the entry points' group of further ones."""

    group: str
    ours: Mapping[str, str]

    def names(self) -> list[str]:
        """Every name that a config may give: ours first."""
        return [*self.ours, *(e.name for e in entry_points(group=self.group))]

    def load(self, name: str) -> Any:
        """What the name stands for; its module is imported now. Raises KeyError for an unknown name."""
        if name in self.ours:
            module, _, attribute = self.ours[name].partition(":")
            return getattr(import_module(module), attribute)
        for found in entry_points(group=self.group, name=name):
            return found.load()
        raise KeyError(name)


ENGINES = Registry(
    "sgl_launch.engines",
    {
        "dynamo": "launcher.engines.dynamo:DynamoEngine",
        "sglang": "launcher.engines.sglang:SglangEngine",
        "mocker": "launcher.engines.mocker:MockerEngine",
        "dynamo-serve": "launcher.engines.dynamo_serve:DynamoServeEngine",
    },
)
RUNTIMES = Registry(
    "sgl_launch.containers",
    {
        "none": "launcher.containers.base:none",
        "pyxis": "launcher.containers.pyxis:pyxis",
        "apptainer": "launcher.containers.apptainer:apptainer",
        "docker": "launcher.containers.docker:docker",
    },
)
