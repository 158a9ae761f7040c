"""A JSON object read into a dataclass; a value of another type than its field's is told with its place."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import MISSING, field, fields
from typing import Any, get_args, get_origin, get_type_hints

# a number, or `P+n`: n above the base of the job's block
Port = int | str
_PORT = re.compile(r"P\+\d{1,5}")
_NAMES = {int: "a whole number", bool: "true or false", Port: "a port", tuple: "a list", dict: "an object"}


def key(path: str, default: Any) -> Any:
    """A field that stands at `path` in the object (a.b.c) instead of at its own name."""
    return field(default=default, metadata={"path": path})


def read(kind: Any, value: Any, at: str = "") -> Any:
    """The value as a dataclass, a tuple or dict, a text, a number or a Port. null counts as not given where a field
    has a default. Raises ValueError."""
    origin, inside = get_origin(kind), get_args(kind)
    if hasattr(kind, "__dataclass_fields__"):
        if not isinstance(value, dict):
            raise ValueError(f"{at or 'the whole'} is not an object")
        return kind(**dict(_fields(kind, value, f"{at}." if at else "")))
    if origin is tuple and isinstance(value, list):
        return tuple(read(inside[0], part, f"{at}[{n}]") for n, part in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {name: read(inside[1], part, f"{at}.{name}") for name, part in value.items()}
    no_port = kind == Port and isinstance(value, str) and not _PORT.fullmatch(value)
    if kind is Any or (type(value) in (inside or (kind,)) and not no_port):  # a bool is an int only by inheritance
        return value
    raise ValueError(f"{at} is not {_NAMES.get(kind) or _NAMES.get(origin, 'a text')}")


def _fields(kind: Any, values: dict[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    """The fields of a dataclass that are given."""
    for one in fields(kind):
        path, value = one.metadata.get("path", one.name), values
        for part in path.split("."):
            value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
        if value is MISSING and one.default is MISSING:
            raise ValueError(f"{before}{path} is missing")
        if value is not MISSING and (value is not None or one.default is MISSING):
            yield one.name, read(_types(kind)[one.name], value, before + path)


@functools.cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
