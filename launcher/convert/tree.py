"""A YAML mapping as it was written: keys in order, with their places and comments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from launcher.base.errors import Place
from launcher.config.yamlpos import KeyPath


class Comment(NamedTuple):
    """A comment, with its `#`, and the line that it stood on."""

    text: str
    line: int


@dataclass(frozen=True)
class Item:
    """One key of a mapping. `value` is a Section, or plain data: a scalar or a list."""

    key: str
    value: Any
    path: KeyPath = ()
    place: Place | None = None
    above: tuple[Comment, ...] = ()
    beside: Comment | None = None
    gap: bool = False  # an empty line stands before it

    @property
    def comments(self) -> Iterator[Comment]:
        """This item's own comments, without those inside its value."""
        yield from self.above
        if self.beside:
            yield self.beside


@dataclass(frozen=True)
class Section:
    """A mapping; `below` are the comments after its last key."""

    items: tuple[Item, ...] = ()
    below: tuple[Comment, ...] = ()

    def get(self, *keys: str) -> Item | None:
        """The item at that path of keys; None when it is not there."""
        section: Any = self
        found = None
        for key in keys:
            if not isinstance(section, Section):
                return None
            found = next((i for i in section.items if i.key == key), None)
            if found is None:
                return None
            section = found.value
        return found


def leaves(section: Section) -> Iterator[Item]:
    """Every item that holds no further item: scalars, lists and empty mappings."""
    for item in section.items:
        if isinstance(item.value, Section) and item.value.items:
            yield from leaves(item.value)
        else:
            yield item


def plain(value: Any) -> Any:
    """A value as plain data."""
    if isinstance(value, Section):
        return {item.key: plain(item.value) for item in value.items}
    return value


def comments(section: Section) -> Iterator[tuple[Comment, KeyPath]]:
    """Every comment inside, with the path of the key that it belongs to."""
    for item in section.items:
        yield from ((c, item.path) for c in item.comments)
        if isinstance(item.value, Section):
            yield from comments(item.value)
            yield from ((c, item.path) for c in item.value.below)
