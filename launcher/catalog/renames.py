"""Flags of SGLang that were renamed, folded into another flag, or dropped: `data/renames.json`.

What a flag's own release says about its successor (its argparse action or help) is in the
catalogues themselves. This table holds what no single catalogue tells: successors of flags that
went without a word, values that a rename fixes, and what to do where nothing replaces a flag.

`since` is the first of the releases that were compared for the entry which has the new name.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from launcher.catalog.releases import DATA


class ValueOf(str):
    """The value of the flag of this name, which is not given."""


class Rename(NamedTuple):
    """One flag's successors, each with its value: null for the old flag's, {"values": {old: new}} for one that
    depends on it, {"copied": FLAG} for another flag's, {"moved": FLAG} for that of a flag which goes too, or else
    the value that says the same. A flag without any was dropped; `note` then says what to do."""

    old: str
    becomes: Mapping[str, Any]
    since: str
    source: str
    note: str = ""

    @property
    def moved(self) -> str:
        """The flag that goes with this one; empty where none does."""
        return next((v["moved"] for v in self.becomes.values() if isinstance(v, dict) and "moved" in v), "")

    def pairs(self, value: Any, given: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """The successors with their values; `given` are the flags beside it by their usual names."""
        return [(name, self._value(how, value, given)) for name, how in self.becomes.items()]

    @staticmethod
    def _value(how: Any, value: Any, given: Mapping[str, Any]) -> Any:
        if isinstance(how, dict):
            other = how.get("moved") or how.get("copied")
            return given.get(other, ValueOf(other)) if other else how["values"].get(value)
        return value if how is None else how


@functools.cache
def renames() -> dict[str, Rename]:
    """By the old name, in the order of the file."""
    found = json.loads(DATA.with_name("renames.json").read_text(encoding="utf-8"))
    return {entry["old"]: Rename(**entry) for entry in found}
