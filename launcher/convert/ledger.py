"""What becomes of every key of a source: converted, or listed with the reason why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from launcher.base.errors import Place, Problem
from launcher.config.load import dotted
from launcher.config.yamlpos import KeyPath
from launcher.convert.tree import Comment, Item, Section, comments, leaves, plain
from launcher.convert.writer import flow

Kind = Literal["set", "warning", "dropped"]
NO_COUNTERPART = "sgl-launch has no counterpart"


@dataclass(frozen=True)
class Note:
    """Something for the user: a value still to be set, a warning, or a key not carried over."""

    kind: Kind
    message: str
    path: KeyPath = ()
    place: Place | None = None
    value: Any = None
    comments: tuple[Comment, ...] = ()

    @property
    def key(self) -> str:
        return dotted(self.path)

    def __str__(self) -> str:
        return str(Problem(self.message, self.place, self.key))


@dataclass
class Ledger:
    """Collects notes while a source is converted; `settle` finds what nobody looked at."""

    notes: list[Note] = field(default_factory=list)
    covered: set[KeyPath] = field(default_factory=set)

    def use(self, *items: Item | None) -> None:
        """These items, with all that is in them, are in the config."""
        for item in items:
            if item is not None:
                self.covered.update(_paths(item))

    def drop(self, item: Item, reason: str) -> None:
        """This item, with all that is in it, is not carried over."""
        if item.path in self.covered:
            return
        self.covered.update(_paths(item))
        held = tuple(c for c, _ in comments(Section((item,))))
        self.notes.append(Note("dropped", reason, item.path, item.place, plain(item.value), held))

    def leave(self, item: Item, reason: str) -> None:
        """As `drop`, for what is not part of this conversion: its values are not repeated."""
        self.covered.update(_paths(item))
        self.notes.append(Note("dropped", reason, item.path, item.place))

    def warn(self, message: str, item: Item | None = None) -> None:
        self.notes.append(_note("warning", message, item))

    def to_set(self, message: str, item: Item | None = None) -> None:
        self.notes.append(_note("set", message, item))

    def is_covered(self, path: KeyPath) -> bool:
        return any(path[:n] in self.covered for n in range(1, len(path) + 1))

    def settle(self, root: Section) -> None:
        """Drop what was neither used nor dropped, each time the largest part of it."""
        for item in root.items:
            if self.is_covered(item.path):
                continue
            inside = leaves(item.value) if isinstance(item.value, Section) else ()
            if any(self.is_covered(leaf.path) for leaf in inside):
                assert isinstance(item.value, Section)
                self.settle(item.value)
                continue
            self.drop(item, NO_COUNTERPART)

    def of(self, kind: Kind) -> list[Note]:
        """The notes of one kind, in the order of the file."""
        return sorted((n for n in self.notes if n.kind == kind), key=_position)


def _paths(item: Item) -> set[KeyPath]:
    """The item's path and those inside: a variant's keys stand elsewhere in the file."""
    inside = leaves(item.value) if isinstance(item.value, Section) else ()
    return {item.path, *(leaf.path for leaf in inside)}


def _note(kind: Kind, message: str, item: Item | None) -> Note:
    if item is None:
        return Note(kind, message)
    return Note(kind, message, item.path, item.place)


def _position(note: Note) -> tuple[int, int]:
    place = note.place
    return ((place.line or 0), (place.column or 0)) if place else (0, 0)


def values(note: Note) -> str:
    """What a dropped key held, on one line."""
    return flow(note.value)
