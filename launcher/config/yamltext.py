"""Scalars as YAML text."""

from __future__ import annotations

import functools
import re
from typing import Any

import yaml

from launcher.base.errors import InputError
from launcher.config.yamlpos import parse

_PLAIN = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./@+~:=-]*")


def scalar(value: Any) -> str:
    """A scalar that every YAML reader, 1.1 or 1.2, reads as exactly this value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, int):
        return str(value)
    return _text(str(value))


def _float(value: float) -> str:
    if value != value:
        return ".nan"
    if value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    # 1e-05 is a text in YAML 1.1: a float there has a point and a signed exponent
    return re.sub(r"^(-?\d+)e", r"\1.0e", text)


@functools.lru_cache(maxsize=4096)
def _text(text: str) -> str:
    clock = text[:1].isdigit() and ":" in text  # a number to some readers
    if _PLAIN.fullmatch(text) and not clock and text[-1] != ":" and _means_itself(text):
        return text
    if '"' in text and "'" not in text and text.isascii() and text.isprintable():
        return f"'{text}'"
    quoted: str = yaml.dump(text, default_style='"', allow_unicode=True, width=10**9)
    return quoted.rstrip("\n")


def _means_itself(text: str) -> bool:
    try:
        return yaml.safe_load(text) == text and parse(text, "")[0] == text
    except (yaml.YAMLError, InputError, ValueError):
        return False
