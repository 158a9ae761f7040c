"""Flags that harm or do nothing under an engine: `data/idle.json`.

Each row has its proof: what a real part did, or where its code says so. A row with a `rule` is judged by that function
or table, since it depends on more than the flag; the others by `idle_flags`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from launcher.catalog.releases import DATA


@dataclass(frozen=True)
class Idle:
    """A row. `where` says whose flags these are; `unless` is the router mode under which they do something."""

    flags: tuple[str, ...]
    where: Literal["roles", "frontend"]
    engines: tuple[str, ...]
    why: str
    proof: str
    rule: str = ""
    unless: str = ""


@functools.cache
def rows() -> tuple[Idle, ...]:
    found: list[dict[str, Any]] = json.loads(DATA.with_name("idle.json").read_text(encoding="utf-8"))
    return tuple(Idle(**{**row, "flags": tuple(row["flags"]), "engines": tuple(row["engines"])}) for row in found)


def idle_flags(
    args: Mapping[str, Any], where: Literal["roles", "frontend"], engine: str, router_mode: str | None
) -> Iterator[tuple[str, str]]:
    """(flag, why) of each of these flags that does nothing; one that is false or null is not given."""
    for row in rows():
        if row.rule or row.where != where or engine not in row.engines or (row.unless and row.unless == router_mode):
            continue
        yield from ((name, row.why) for name in args if name in row.flags and args[name] not in (False, None))
