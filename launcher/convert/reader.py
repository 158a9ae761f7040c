"""A YAML file, read as the tools it was written for read it, with its places and comments.

Those tools use PyYAML, so YAML 1.1 holds (`on` is true, the last of two equal keys counts) but for
`04:00:00`, which stays the text that its writer meant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from launcher.base.errors import InputError, Place, Problem
from launcher.config.yamlpos import Builder, KeyPath, parse
from launcher.convert.comments import attach
from launcher.convert.strangers import by_text
from launcher.convert.tree import Item, Section


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


def read(text: str, source: str) -> tuple[Section, tuple[tuple[KeyPath, Place], ...]]:
    """The file's mapping, and the keys that a later one of the same name replaces.

    Raises InputError for anything that is not one YAML mapping of plain data.
    """
    from ruamel.yaml.error import YAMLError

    builder = _PyYaml(source)
    try:
        data, places = parse(text, source, builder)
        strange = "" if isinstance(data, dict) else by_text(text)
    except InputError:
        strange = by_text(text)
        if not strange:
            raise
    if strange:
        raise InputError(Problem(strange, Place(source)))
    if data is None:
        raise InputError(Problem("the file is empty", Place(source)))
    if not isinstance(data, dict):
        raise InputError(Problem("must be a mapping (key: value)", Place(source, 1, 1)))

    def section(mapping: dict[str, Any], path: KeyPath) -> Section:
        return Section(tuple(item(k, v, (*path, k)) for k, v in mapping.items()))

    def item(key: str, value: Any, path: KeyPath) -> Item:
        return Item(key, section(value, path) if isinstance(value, dict) else value, path, places[path])

    try:
        return attach(section(data, ()), text), tuple(builder.replaced)
    except YAMLError as e:
        raise InputError(Problem(f"not valid YAML: {' '.join(str(e).split())}", Place(source))) from None


class _PyYaml(Builder):
    """PyYAML's YAML 1.1."""

    loader = yaml.SafeLoader

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.replaced: list[tuple[KeyPath, Place]] = []

    def twice(self, node: yaml.Node, path: KeyPath) -> None:
        self.replaced.append((path, self.places.pop(path)))

    def scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("timestamp", "value") or (kind in ("int", "float") and ":" in node.value):
            return node.value
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node, deep=True)
        except yaml.YAMLError:
            return super().scalar(node)  # says what is wrong with its tag
        except (ValueError, KeyError, TypeError, OverflowError):
            raise self.error(f"{node.value[:40]!r} is not what its tag says", node) from None
        if isinstance(value, bytes):
            raise self.error("binary data is not converted", node)
        return value
