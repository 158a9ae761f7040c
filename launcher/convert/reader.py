"""A YAML file, read as the tools it was written for read it, with its places and comments.

Those tools use PyYAML, so YAML 1.1 holds (`on` is true, the last of two equal keys counts) but for
`04:00:00`, which stays the text that its writer meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from launcher.base.errors import InputError, Place, Problem
from launcher.config.yamlpos import KeyPath, check_depth
from launcher.convert.comments import attach
from launcher.convert.tree import Item, Section

_MOST_KEYS = 20_000  # a file of aliases to aliases can stand for billions
_TEXT = "tag:yaml.org,2002:str"


def read_text(path: Path) -> str:
    """The file's text. Raises InputError when it can't be read."""
    place = Place(str(path))
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(Problem("no such file", place)) from None
    except UnicodeDecodeError as e:
        raise InputError(Problem(f"not UTF-8 text (byte {e.start}); save it as UTF-8", place)) from None
    except (OSError, ValueError) as e:
        reason = getattr(e, "strerror", None) or e
        raise InputError(Problem(f"can't be read: {reason}", place)) from None


def read(text: str, source: str) -> tuple[Section, tuple[Item, ...]]:
    """The file's mapping, and the items that a later key of the same name replaces.

    Raises InputError for anything that is not one YAML mapping of plain data.
    """
    try:
        section, walk = _read(text, source)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = Place(source, mark.line + 1, mark.column + 1) if mark else Place(source)
        what = e.problem or e.context or "not YAML"
        raise InputError(Problem(f"this is not valid YAML here: {what}", place)) from None
    except yaml.YAMLError as e:
        raise InputError(Problem(f"this is not valid YAML: {e}", Place(source))) from None
    except (RecursionError, ValueError, TypeError, OverflowError) as e:
        raise InputError(Problem(f"this YAML can't be read: {e}", Place(source))) from None
    return attach(section, text, walk.scalars), tuple(walk.replaced)


def _read(text: str, source: str) -> tuple[Section, _Walk]:
    check_depth(text, source)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise InputError(Problem("the file is empty", Place(source)))
        if not isinstance(node, yaml.MappingNode):
            raise InputError(Problem("must be a mapping (key: value)", Place(source, 1, 1)))
        walk = _Walk(loader, source)
        return walk.section(node, (), ()), walk
    finally:
        loader.dispose()


class _Walk:
    """One pass over a document's nodes."""

    def __init__(self, loader: yaml.SafeLoader, source: str) -> None:
        self.loader = loader
        self.source = source
        self.replaced: list[Item] = []
        self.scalars: list[tuple[int, int]] = []  # where a `#` is no comment
        self.keys = 0

    def section(self, node: yaml.MappingNode, path: KeyPath, above: tuple[int, ...]) -> Section:
        above = self._enter(node, above)
        items: dict[str, Item] = {}
        for key_node, value_node, merged in self._pairs(node, above):
            key = self._key(key_node)
            value = self._value(value_node, (*path, key), above)
            item = Item(key, value, (*path, key), self._place(key_node))
            if key in items and merged:
                continue
            if key in items:
                self.replaced.append(items.pop(key))
            items[key] = item
            self.keys += 1
            if self.keys > _MOST_KEYS:
                raise InputError(Problem(f"more than {_MOST_KEYS} keys; not converted", Place(self.source)))
        return Section(tuple(items.values()))

    def _pairs(self, node: yaml.MappingNode, above: tuple[int, ...]) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
        """Keys and values: the mapping's own, then what `<<` merges in and it does not have."""
        merges = [v for k, v in node.value if k.tag == "tag:yaml.org,2002:merge"]
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                yield key, value, False
        for merge in merges:
            parts = merge.value if isinstance(merge, yaml.SequenceNode) else [merge]
            for part in parts:
                if not isinstance(part, yaml.MappingNode):
                    raise InputError(Problem("<< merges mappings only", self._place(merge)))
                inner = self._enter(part, above)
                for key, value, _ in self._pairs(part, inner):
                    yield key, value, True

    def _value(self, node: yaml.Node, path: KeyPath, above: tuple[int, ...]) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self.section(node, path, above)
        if isinstance(node, yaml.SequenceNode):
            above = self._enter(node, above)
            out = []
            for index, child in enumerate(node.value):
                value = self._value(child, (*path, index), above)
                out.append(_mapping(value) if isinstance(value, Section) else value)
                self.keys += 1
            return out
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        self.scalars.append((node.start_mark.index, node.end_mark.index))
        if node.tag.endswith((":timestamp", ":value")) or (
            node.tag.endswith((":int", ":float")) and ":" in str(node.value)
        ):
            node.tag = _TEXT
        value = self.loader.construct_object(node, deep=True)
        if isinstance(value, bytes):
            raise InputError(Problem("binary data is not converted", self._place(node)))
        return value

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise InputError(Problem("a key must be plain text", self._place(node)))
        self.scalars.append((node.start_mark.index, node.end_mark.index))
        return str(node.value)

    def _enter(self, node: yaml.Node, above: tuple[int, ...]) -> tuple[int, ...]:
        if id(node) in above:
            raise InputError(Problem("an anchor refers to itself", self._place(node)))
        return (*above, id(node))

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.source, node.start_mark.line + 1, node.start_mark.column + 1)


def _mapping(section: Section) -> dict[str, Any]:
    """A mapping inside a list, as plain data."""
    return {i.key: _mapping(i.value) if isinstance(i.value, Section) else i.value for i in section.items}
