"""YAML with positions: plain data, and for every key the place where it was written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from launcher.errors import InputError, Place, Problem

KeyPath = tuple[Any, ...]

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BaseLoader):
    """YAML 1.2's core types, so that `time: 04:00:00` and `on` stay what they look like."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - filled below, not inherited


for _tag, _regexp, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9_]*)$|^0x[0-9a-fA-F]+$|^0o[0-7]+$", "-+0123456789"),
    (
        "float",
        r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$"
        r"|^\.(?:nan|NaN|NAN)$",
        "-+.0123456789",
    ),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_regexp), list(_first))


def parse(text: str, source: str) -> tuple[Any, dict[KeyPath, Place]]:
    """Parse one YAML document.

    Returns the data and the place of each key path (of a mapping's value: its key's place).
    Raises InputError for text that is not YAML, an unknown tag, or a key given twice.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            places: dict[KeyPath, Place] = {}
            if node is None:
                return None, places
            _walk(node, (), source, places, set())
            return loader.construct_document(node), places
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = Place(source, mark.line + 1, mark.column + 1) if mark else Place(source)
        what = e.problem or e.context or "not YAML"
        raise InputError(Problem(f"this is not valid YAML here: {what}", place)) from None
    except yaml.YAMLError as e:
        raise InputError(Problem(f"this is not valid YAML: {e}", Place(source))) from None
    except (RecursionError, ValueError, TypeError) as e:
        raise InputError(Problem(f"this YAML can't be read: {e}", Place(source))) from None


def parse_file(path: Path) -> tuple[Any, dict[KeyPath, Place]]:
    """Parse a YAML file; raises InputError also when the file can't be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(Problem("no such file", Place(str(path)))) from None
    except UnicodeDecodeError as e:
        raise InputError(Problem(f"not UTF-8 text (byte {e.start}); save it as UTF-8", Place(str(path)))) from None
    except OSError as e:
        raise InputError(Problem(f"can't be read: {e.strerror}", Place(str(path)))) from None
    return parse(text, str(path))


def _walk(node: yaml.Node, path: KeyPath, source: str, places: dict[KeyPath, Place], seen: set[int]) -> None:
    # an alias that contains itself would never end
    if id(node) in seen:
        raise InputError(Problem("an anchor refers to itself", Place(source, node.start_mark.line + 1, 1)))
    places.setdefault(path, _place(node, source))
    seen = seen | {id(node)}
    if isinstance(node, yaml.MappingNode):
        keys: set[Any] = set()
        for key_node, value in node.value:
            if key_node.tag.endswith(":merge"):
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise InputError(Problem("a key must be plain text", _place(key_node, source)))
            key = key_node.value
            if key in keys:
                raise InputError(Problem("this key stands twice; keep one", _place(key_node, source), key))
            keys.add(key)
            child = (*path, key)
            places[child] = _place(key_node, source)
            _walk(value, child, source, places, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), source, places, seen)


def _place(node: yaml.Node, source: str) -> Place:
    return Place(source, node.start_mark.line + 1, node.start_mark.column + 1)
