"""A config's text, in the style of the shipped ones. The same tree gives the same bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from launcher.config.yamltext import scalar
from launcher.convert.tree import Comment, Item, Section

WIDTH = 100


def render(root: Section, head: Sequence[str], foot: Sequence[str]) -> str:
    """The whole file: comment lines, the config, comment lines."""
    lines = [comment(line) for line in head]
    if root.items and root.items[0].above:
        lines.append("")
    previous: Item | None = None
    for item in root.items:
        if previous is not None and (_stands_apart(previous) or _stands_apart(item)):
            lines.append("")
        lines += _item(item, 0)
        previous = item
    if root.below:
        lines += ["", *(_spaced(c) for c in root.below)]
    if foot:
        lines += ["", *(comment(line) for line in foot)]
    return "\n".join(lines) + "\n"


def comment(text: str) -> str:
    """A comment of one line, whatever the text."""
    return "# " + "".join(c if c.isprintable() else " " for c in text) if text.strip() else "#"


def _stands_apart(item: Item) -> bool:
    return isinstance(item.value, (Section, dict)) or bool(item.above)


def _item(item: Item, depth: int) -> list[str]:
    indent = "  " * depth
    lines = [(indent + _spaced(c)).rstrip() for c in item.above]
    beside = "  " + _spaced(item.beside) if item.beside else ""
    head = f"{indent}{scalar(item.key)}:"
    value = item.value
    if isinstance(value, Section) and (value.items or value.below):
        lines.append(head + (beside if beside else ""))
        for number, child in enumerate(value.items):
            if child.gap and number:
                lines.append("")
            lines += _item(child, depth + 1)
        lines += [(indent + "  " + _spaced(c)).rstrip() for c in value.below]
        if not value.items:  # comments alone would leave null
            lines[len(item.above)] = f"{head} {{}}{beside}"
        return lines
    if isinstance(value, Section):
        return [*lines, f"{head} {{}}{beside}"]
    one = f"{head} {flow(value)}"
    if isinstance(value, list) and len(one) > WIDTH:
        return [*lines, *_long_list(head, value, indent + "  "), *([indent + beside.strip()] * bool(beside))]
    return [*lines, one + beside]


def _long_list(head: str, values: Sequence[Any], indent: str) -> list[str]:
    """`key: [` with the values on further lines, as many as fit."""
    lines, line = [f"{head} ["], ""
    for number, value in enumerate(values):
        word = flow(value) + ("," if number < len(values) - 1 else "")
        if line and len(indent) + len(line) + 1 + len(word) > WIDTH:
            lines.append(indent + line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, indent + line, indent[:-2] + "]"]


def _spaced(c: Comment) -> str:
    """A comment with a space after its `#`, unless it is a line of them."""
    return c.text if re.match(r"#[\s#!]|#?$", c.text) else "# " + c.text[1:]


def flow(value: Any) -> str:
    """Plain data on one line."""
    if isinstance(value, Section):
        return _braces((i.key, i.value) for i in value.items)
    if isinstance(value, dict):
        return _braces(value.items())
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(v) for v in value) + "]"
    return scalar(value)


def _braces(pairs: Iterable[tuple[Any, Any]]) -> str:
    return "{" + ", ".join(f"{scalar(k)}: {flow(v)}" for k, v in pairs) + "}"
