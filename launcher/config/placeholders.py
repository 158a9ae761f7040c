"""Placeholders: values in angle brackets, `<the folder of DeepSeek-R1>`, that a shipped config leaves to its user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_PLACEHOLDER = re.compile(r"<([^<>]*[^<>\s][^<>]*)>")


def placeholder(value: object) -> str:
    """What a placeholder asks for; empty for any other value."""
    found = _PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else ""


def placeholders(data: Any, *keys: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """The keys of each placeholder in a config's data, and what it asks for."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from placeholders(value, *keys, key)
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from placeholders(value, *keys, index)
    elif text := placeholder(data):
        yield keys, text
