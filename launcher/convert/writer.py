"""A config's text, in the style of the shipped ones: ruamel.yaml writes it. The same tree gives the same bytes."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from launcher.config.yamltext import scalar
from launcher.convert.tree import Comment, Item, Section, plain, spoken

WIDTH = 100  # ruamel.yaml breaks a line after the value that goes beyond its own


def render(root: Section, head: Sequence[str], foot: Sequence[str]) -> str:
    """The whole file: comment lines, the config, comment lines."""
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import CommentMark
    from ruamel.yaml.tokens import CommentToken

    waiting: list[CommentToken] = []  # comments that stand before the next key

    def wait(comments: Iterable[Comment], depth: int) -> None:
        waiting.extend(CommentToken(_spaced(c) + "\n", CommentMark(2 * depth)) for c in comments)

    def mapping(section: Section, depth: int) -> CommentedMap:
        out = CommentedMap()
        for number, item in enumerate(section.items):
            if number and not depth and (_stands_apart(section.items[number - 1]) or _stands_apart(item)):
                wait([Comment("", 0)], 0)
            wait(item.above if number else spoken(item.above), depth)
            beside = CommentToken(f" {_spaced(item.beside)}\n", CommentMark(0)) if item.beside else None
            key = _data(item.key)
            out.ca.items[key] = [None, waiting.copy(), beside, None]
            waiting.clear()
            inner = item.value if isinstance(item.value, Section) else Section()
            out[key] = mapping(inner, depth + 1) if inner.items else _data(plain(item.value))
            wait(item.under, depth)
        return out

    lines = [comment(line) for line in head]
    if root.items and spoken(root.items[0].above):
        lines.append("")
    lines += map(str.rstrip, _dump(mapping(root, 0), WIDTH - 10).splitlines())
    lines += ["", *(c.value.rstrip("\n") for c in waiting)]
    if foot:
        lines += ["", *(comment(line) for line in foot)]
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"


def comment(text: str) -> str:
    """A comment of one line, whatever the text."""
    return "# " + "".join(c if c.isprintable() else " " for c in text) if text.strip() else "#"


def flow(value: Any) -> str:
    """Plain data on one line."""
    value = plain(value)
    return _dump(_data(value), 10**9).rstrip("\n") if isinstance(value, (dict, list, tuple)) else scalar(value)


def _stands_apart(item: Item) -> bool:
    return isinstance(item.value, (Section, dict)) or bool(spoken(item.above))


def _spaced(c: Comment) -> str:
    """A comment with a space after its `#`, unless it is a line of them."""
    return c.text if re.match(r"#[\s#!]|#?$", c.text) else "# " + c.text[1:]


def _data(value: Any) -> Any:
    """Plain data for ruamel.yaml: on one line, and quoted where some reader takes a text for something else."""
    from ruamel.yaml import comments, scalarstring

    if isinstance(value, str):
        kinds = {'"': scalarstring.DoubleQuotedScalarString, "'": scalarstring.SingleQuotedScalarString}
        return kinds.get(scalar(value)[:1], scalarstring.PlainScalarString)(value)
    if not isinstance(value, (dict, list, tuple)):
        return value
    pairs = [(_data(k), _data(v)) for k, v in value.items()] if isinstance(value, dict) else None
    out: Any = comments.CommentedSeq(map(_data, value)) if pairs is None else comments.CommentedMap(pairs)
    out.fa.set_flow_style()
    return out


@functools.cache
def _classes() -> tuple[type, type]:
    """An emitter that breaks lines only between a list's values; a representer of floats and null for all readers."""
    from ruamel.yaml.emitter import Emitter
    from ruamel.yaml.representer import RoundTripRepresenter

    class Lines(Emitter):
        def process_scalar(self) -> None:
            width, self.best_width = self.best_width, 10**9
            super().process_scalar()
            self.best_width = width

    class Scalars(RoundTripRepresenter):
        pass

    for kind, tag in ((float, "float"), (type(None), "null")):
        Scalars.add_representer(kind, lambda r, v, tag=tag: r.represent_scalar(f"tag:yaml.org,2002:{tag}", scalar(v)))
    return Lines, Scalars


def _dump(data: Any, width: int) -> str:
    from ruamel.yaml import YAML

    yaml = YAML(pure=True)
    yaml.width, yaml.allow_unicode = width, True
    yaml.Emitter, yaml.Representer = _classes()
    out = io.StringIO()
    yaml.dump(data, out)
    return out.getvalue()
