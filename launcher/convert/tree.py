"""A YAML mapping as it was written: keys in order, with their places and comments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from launcher.base.errors import Place
from launcher.config.yamlpos import KeyPath


class Comment(NamedTuple):
    """A comment, with its `#`, and the line that it stood on; an empty line is one without text."""

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
    under: tuple[Comment, ...] = ()  # after its value, where no further key follows

    @property
    def comments(self) -> tuple[Comment, ...]:
        """This item's own comments, without those inside its value."""
        return tuple(c for c in (*self.above, *filter(None, [self.beside]), *self.under) if c.text)


@dataclass(frozen=True)
class Section:
    """A mapping."""

    items: tuple[Item, ...] = ()

    def get(self, *keys: str) -> Item | None:
        """The item at that path of keys; None when it is not there."""
        section: Any = self
        found = None
        for key in keys:
            items = section.items if isinstance(section, Section) else ()
            found = next((i for i in items if i.key == key), None)
            section = found.value if found else None
        return found


def walk(section: Section) -> Iterator[Item]:
    """Every item inside, each before those that it holds."""
    for item in section.items:
        yield item
        if isinstance(item.value, Section):
            yield from walk(item.value)


def leaves(section: Section) -> Iterator[Item]:
    """Every item that holds no further item: scalars, lists and empty mappings."""
    return (i for i in walk(section) if not (isinstance(i.value, Section) and i.value.items))


def plain(value: Any) -> Any:
    """A value as plain data."""
    if isinstance(value, Section):
        return {item.key: plain(item.value) for item in value.items}
    return value


def comments(section: Section) -> Iterator[tuple[Comment, KeyPath]]:
    """Every comment inside, with the path of the key that it belongs to."""
    return ((c, item.path) for item in walk(section) for c in item.comments)


def spoken(found: Sequence[Comment]) -> tuple[Comment, ...]:
    """The comments without empty lines before the first."""
    return tuple(itertools.dropwhile(lambda c: not c.text, found))
