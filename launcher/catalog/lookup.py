"""Flags by name, in one version's catalogue and in those of all."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from launcher.catalog.flags import CatalogError, Flag
from launcher.catalog.releases import DATA, order, versions
from launcher.catalog.renames import RENAMES, Rename

BY_OLD_NAME: dict[str, Rename] = {r.old: r for r in RENAMES}


def dashed(name: str) -> str:
    """A flag's name without leading dashes, with dashes for underscores."""
    return name.strip().lstrip("-").replace("_", "-")


class Lookup:
    """The flags of one SGLang version, found by whatever name argparse would take for them."""

    def __init__(self, version: str, flags: Sequence[Flag], source: str = "") -> None:
        self.version = version
        self.flags = tuple(flags)
        # How messages name it.
        self.title = f"SGLang {version}" + (f" in {source}" if source else "")
        self.by_name = {name: flag for flag in self.flags for name in flag.names}
        try:
            self.place = order(version)
        except CatalogError:
            # An SGLang installed from a checkout may have no version; take it for a new one.
            self.place = (10**6, 0, 0, 0, 0)

    def __contains__(self, name: str) -> bool:
        return dashed(name) in self.by_name

    def flag(self, name: str) -> Flag | None:
        """The flag that `name` is, or that argparse would take it for; None if there is none.

        `name` may be dashed or underscored, an alias, or an unambiguous beginning.
        """
        name = dashed(name)
        if name in self.by_name:
            return self.by_name[name]
        # A name of another version that happens to begin a name of this one is not meant as that.
        if history(name) or name in BY_OLD_NAME:
            return None
        candidates = self.beginning(name)
        return self.by_name[candidates[0]] if len(candidates) == 1 else None

    def canonical(self, name: str) -> str | None:
        """The dashed canonical long name: tp-size for tensor_parallel_size, tp-size and tp.

        None for a name that this version doesn't know, or that is short for several.
        """
        flag = self.flag(name)
        return flag.name if flag else None

    def beginning(self, name: str) -> list[str]:
        """Names that argparse would take `name` for.

        Counted by name, not by flag: Python up to 3.12 calls two names of one flag ambiguous.
        """
        if not name:
            return []
        return sorted(n for n in self.by_name if n.startswith(name))

    def nearest(self, name: str, most: int = 3) -> list[str]:
        """Up to `most` names most like `name`, the nearest first; one per flag."""
        import difflib

        name = dashed(name).lower()
        words = set(name.split("-"))
        scored = []
        for known, flag in self.by_name.items():
            score = difflib.SequenceMatcher(None, name, known).ratio()
            theirs = set(known.split("-"))
            # The same words in another order, or one too many, are as near as a typo.
            overlap = len(words & theirs) / len(words | theirs)
            if len(words & theirs) > 1:
                score = max(score, 0.6 + 0.35 * overlap if overlap >= 0.5 else 0.0)
            if score >= 0.72:
                scored.append((-score, known, flag.name))
        best = min((s for s, _, _ in scored), default=0.0)
        found: list[str] = []
        taken: set[str] = set()
        for score, known, canonical in sorted(scored):
            # Only what is about as near as the nearest.
            if canonical not in taken and score <= best + 0.08:
                taken.add(canonical)
                found.append(known)
        return found[:most]


def flags_from(data: Mapping[str, Any]) -> list[Flag]:
    """The flags in extract.py's object. Raises CatalogError if it isn't one."""
    try:
        return [
            Flag(
                **{
                    **f,
                    "names": tuple(f["names"]),
                    "choices": tuple(f.get("choices", ())),
                    "short": tuple(f.get("short", ())),
                }
            )
            for f in data["flags"]
        ]
    except (KeyError, TypeError) as error:
        raise CatalogError(f"not a catalogue of SGLang's flags: {error!r}") from error


@functools.cache
def flags_of(version: str) -> tuple[Flag, ...]:
    """The flags of exactly `version`.

    Raises CatalogError, naming the versions there are, if it has no catalogue.
    """
    if version not in versions():
        raise CatalogError(f"there is no catalogue of SGLang {version}'s flags, only of {', '.join(versions())}")
    return tuple(flags_from(json.loads((DATA / f"{version}.json").read_text(encoding="utf-8"))))


@functools.cache
def all_names(version: str) -> frozenset[str]:
    return frozenset(name for flag in flags_of(version) for name in flag.names)


def history(name: str) -> list[str]:
    """The versions that have a flag of exactly this name, oldest first."""
    return [v for v in versions() if name in all_names(v)]
