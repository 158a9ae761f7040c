"""One flag of one version, and what there is to say about it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from launcher.catalog.releases import SGLANG, CatalogError, Program, rows

Kind = Literal[
    "unknown",  # no version we know has it
    "ambiguous",  # short for several flags
    "renamed",  # now has another name
    "gone",  # was in an earlier version
    "later",  # came in a later version
    "twice",  # two keys set the same flag
    "type",  # the value is of the wrong type
    "choice",  # the value is not among the choices
    "count",  # too many or too few values
    "abbreviated",  # accepted: short for one flag
    "deprecated",  # accepted: goes in a coming version
    "ignored",  # accepted by SGLang, which then does nothing
]

# SGLang starts in spite of these. "ignored" isn't among them: a flag that silently does nothing
# is as wrong as one that stops the server, and harder to find.
_WARNINGS = frozenset({"abbreviated", "deprecated"})


@dataclass(frozen=True)
class Problem:
    """One thing to say about one flag.

    `flag` is the key as it was written, `message` says what is wrong, `suggestion` what to do.
    Neither ends in a full stop.
    """

    flag: str
    kind: Kind
    message: str
    suggestion: str = ""

    @property
    def is_error(self) -> bool:
        """False if SGLang takes the flag and does what it says all the same."""
        return self.kind not in _WARNINGS

    @property
    def text(self) -> str:
        """Message and suggestion, without the flag: for callers that print the key themselves."""
        parts = [p[:1].upper() + p[1:] for p in (self.message, self.suggestion) if p]
        return " ".join(p if p.endswith("?") else p + "." for p in parts)

    def __str__(self) -> str:
        return f"{self.flag}: {self.text}"


@dataclass(frozen=True)
class Flag:
    """One flag of one version; releases.py says what the fields mean."""

    names: tuple[str, ...]
    type: str
    nargs: str | int | None = None
    choices: tuple[Any, ...] = ()
    default: Any = None
    required: bool = False
    dest: str = ""
    deprecated: str | None = None
    inert: bool = False
    refused: bool = False
    short: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The canonical name: the one that stays the same over the versions."""
        return self.names[0]

    @property
    def is_switch(self) -> bool:
        """True if no value follows the flag."""
        return self.type in ("switch", "onoff")

    @property
    def many(self) -> bool:
        """True if several values may follow."""
        return self.nargs in ("+", "*") or (isinstance(self.nargs, int) and self.nargs > 1)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Flag:
        """A flag as extract.py describes it. Raises CatalogError for anything else."""
        lists = {k: tuple(row.get(k, ())) for k in ("names", "choices", "short")}
        try:
            return cls(**{**row, **lists})
        except TypeError as error:
            raise CatalogError(f"not a catalogue of SGLang's flags: {error!r}") from error


@functools.cache
def flags_of(version: str, program: Program = SGLANG) -> tuple[Flag, ...]:
    """The flags of exactly `version`.

    Raises CatalogError, naming the versions there are, if it has no catalogue.
    """
    if version not in program.versions():
        known = ", ".join(program.versions())
        raise CatalogError(f"there is no catalogue of {program.title} {version}'s flags, only of {known}")
    return tuple(map(Flag.from_json, rows(version, program.read())))
