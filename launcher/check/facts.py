"""What the checks of a config look at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from launcher.catalog.catalog import Catalog
from launcher.catalog.given import Flags
from launcher.check.findings import Finding, Level
from launcher.check.model import ModelFacts
from launcher.config import Config, Source
from launcher.plan.model import Cluster, Plan


@dataclass(frozen=True)
class Facts:
    """All that the checks may look at. `plan` is None for a config that can't be planned."""

    config: Config
    source: Source
    catalog: Catalog
    model: ModelFacts
    cluster: Cluster
    plan: Plan | None = None

    @functools.cached_property
    def flags(self) -> dict[str, Flags]:
        """Each role's flags."""
        return {name: Flags(role.args) for name, role in self.config.roles.items()}

    def value(self, role: str, name: str, default: Any = None) -> Any:
        """A flag of a role by its usual name of today, whichever of its names it has in the config."""
        return self.flags[role].get(name, default)

    def number(self, role: str, name: str, default: int = 1) -> int:
        """A flag that is a whole number above 0; the default for anything else (said elsewhere)."""
        return self.flags[role].number(name, default)

    def whole(self, role: str, name: str, default: int | None = None) -> int | None:
        """A flag that is a whole number; None for anything else."""
        value = self.value(role, name, default)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def on(self, role: str, name: str) -> bool:
        return self.flags[role].on(name)

    def at(self, level: Level, message: str, role: str, name: str) -> Finding:
        """A finding at a role's flag, as the config spells it."""
        return Finding(level, self.source.problem(message, role, "args", self.flags[role].written(name)))

    def deepep(self, role: str) -> bool:
        return self.value(role, "moe-a2a-backend") == "deepep"

    def experts_over(self, role: str) -> int:
        """Over how many GPUs a layer's experts are spread: DeepEP sets ep-size to tp-size."""
        tp = self.number(role, "tp-size")
        return tp if self.deepep(role) else self.number(role, "ep-size")

    @property
    def pair(self) -> bool:
        return {"prefill", "decode"} <= set(self.config.roles)


Check = Callable[[Facts], Iterator[Finding]]
