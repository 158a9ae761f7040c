"""YAML with positions: plain data, and for every key the place where it was written."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from launcher.base.errors import InputError, Place, Problem

KeyPath = tuple[Any, ...]

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_MAX_DEPTH = 64
_MAX_NODES = 100_000  # a file of a few anchors can expand to billions
_MAX_BITS = 64
# what YAML 1.2 calls printable, and what may stand in a file
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_ADVICE = {
    "mapping values are not allowed in this context": "a value with ': ' in it must be quoted",
    "found undefined alias": "no anchor (&name) of that name stands above it",
    "but found another document": "a config is one document, without ---",
}


class Number(float):
    """A number that remembers how it was written, for where it is used as text: 1.10 is not 1.1."""

    written: str

    def __str__(self) -> str:
        return self.written


class Whole(int):
    """As Number: 0x10 is 16 where a number is meant, and itself where a text is; so is +1."""

    written: str

    def __str__(self) -> str:
        return self.written


class _Loader(_BaseLoader):
    """YAML 1.2's core types, so that `time: 04:00:00` and `on` stay what they look like.

    Numbers with leading zeros (`account: 0017`), .inf and .nan stay texts too.
    """

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - filled below, not inherited


for _name, _regexp, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$|^0x[0-9a-fA-F]+$|^0o[0-7]+$", "-+0123456789"),
    (
        "float",
        r"^[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?"
        r"|(?:0|[1-9][0-9]*)[eE][-+]?[0-9]+)$",
        "-+.0123456789",
    ),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_regexp), list(_first))


def parse(text: str, source: str, builder: Builder | None = None) -> tuple[Any, dict[KeyPath, Place]]:
    """Parse one YAML document, by the rules of `builder` if one is given.

    Returns the data, with texts as the keys of mappings and nothing shared between aliases, and the
    place of each key path (of a mapping's value: its key's place). Raises InputError for text that
    is not YAML, an unknown tag, or a key given twice.
    """
    builder = builder or Builder(source)
    if bad := _NOT_TEXT.search(text):
        before = text[: bad.start()]
        place = Place(source, before.count("\n") + 1, bad.start() - before.rfind("\n"))
        raise InputError(Problem(f"a character that YAML does not allow (U+{ord(bad[0]):04X}); remove it", place))
    try:
        check_depth(text, source)
        loader = builder.loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = Place(source, mark.line + 1, mark.column + 1) if mark else Place(source)
        what = e.problem or e.context or "not YAML"
        advice = _ADVICE.get(what, "")
        if mark and "\t" in _indentation(text, mark.line):
            what, advice = "the line is indented with a tab", "use spaces"
        raise InputError(Problem(f"not valid YAML: {what}{advice and '; ' + advice}", place)) from None
    except yaml.YAMLError as e:
        raise InputError(Problem(f"not valid YAML: {' '.join(str(e).split())}", Place(source))) from None
    return (None if node is None else builder.build(node, (), ())), builder.places


def parse_file(path: Path) -> tuple[Any, dict[KeyPath, Place]]:
    """Parse a YAML file; raises InputError also when the file can't be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(Problem("no such file", Place(str(path)))) from None
    except OSError as e:
        raise InputError(Problem(f"can't be read: {e.strerror}", Place(str(path)))) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        before = data[: e.start]
        place = Place(str(path), before.count(b"\n") + 1, e.start - before.rfind(b"\n"))
        raise InputError(Problem("this byte is not UTF-8 text; save the file as UTF-8", place)) from None
    return parse(text, str(path))


def _indentation(text: str, line: int) -> str:
    lines = text.splitlines()
    found = lines[line] if line < len(lines) else ""
    return found[: len(found) - len(found.lstrip())]


def check_depth(text: str, source: str) -> None:
    """Raise InputError at the first collection that is nested too deep; other mistakes are left to the parser.

    PyYAML composes nodes by recursion, so a very deep text would end it with a RecursionError or crash it.
    """
    mark = _check_events(text, source)
    if mark is not None and mark.index < len(text):
        # libyaml reads up to 1,024 characters ahead and has a limit of its own since 0.2.6 (1,000 levels): its
        # error can come before the events of the collections that precede it
        _check_events(text[: mark.index], source)


def _check_events(text: str, source: str) -> Any:
    """The place where the text stops being YAML; None when it does not. Raises InputError as check_depth does."""
    depth = 0
    try:
        for event in yaml.parse(text, _Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _MAX_DEPTH:
                raise InputError(Problem(f"nested deeper than {_MAX_DEPTH} levels", _place(event, source)))
    except yaml.MarkedYAMLError as e:
        return e.problem_mark
    except yaml.YAMLError:
        pass
    return None


class Builder:
    """Turns YAML nodes into plain data, and notes where each key stands."""

    loader: Any = _Loader

    def __init__(self, source: str) -> None:
        self.source = source
        self.places: dict[KeyPath, Place] = {}
        self._count = 0

    def build(self, node: yaml.Node, path: KeyPath, inside: tuple[yaml.Node, ...]) -> Any:
        """The node's value; `inside` are the nodes that it stands in."""
        self._count += 1
        if self._count > _MAX_NODES:
            raise self.error("the anchors expand to too much", node)
        if any(node is outer for outer in inside):  # an alias that contains itself would never end
            raise self.error("an anchor refers to itself", node)
        if len(inside) > _MAX_DEPTH:
            raise self.error(f"nested deeper than {_MAX_DEPTH} levels", node)
        self.places.setdefault(path, _place(node, self.source))
        inside = (*inside, node)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path, inside)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.build(item, (*path, index), inside) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        raise self.error(f"the tag {_tag(node)} has no meaning here; remove it", node)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, inside: tuple[yaml.Node, ...]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        # own keys first: their places win over those of `<<`
        for key_node, value in sorted(node.value, key=lambda pair: bool(pair[0].tag == _TAG + "merge")):
            if key_node.tag == _TAG + "merge":
                for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(other, yaml.MappingNode):
                        raise self.error("<< takes a mapping, or a list of mappings", other)
                    merged = {**self.build(other, path, inside), **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error("a key must be plain text", key_node)
            key = str(key_node.value)
            if key in own:
                self.twice(key_node, (*path, key))
                del own[key]
            self.places.setdefault((*path, key), _place(key_node, self.source))
            own[key] = self.build(value, (*path, key), inside)
        return {**merged, **own} if merged else own

    def twice(self, node: yaml.Node, path: KeyPath) -> None:
        """A key of the mapping is there already."""
        raise self.error("this key is given twice; keep one", node, path[-1])

    def scalar(self, node: yaml.ScalarNode) -> Any:
        kind, text = node.tag.removeprefix(_TAG), str(node.value)
        if kind in ("str", "merge"):
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in ("int", "float"):
            try:
                value = _int(text) if kind == "int" else _number(text)
            except ValueError:
                raise self.error(f"{text[:40]!r} is not a number", node) from None
            if value is None:
                raise self.error("this number is too large", node)
            return value
        raise self.error(f"the tag {_tag(node)} has no meaning here; remove it", node)

    def error(self, message: str, node: yaml.Node, key: str = "") -> InputError:
        return InputError(Problem(message, _place(node, self.source), key))


def _int(text: str) -> int | None:
    if len(text) > 40:
        return None
    value = int(text, 0)
    if str(value) != text:
        value = Whole(value)
        value.written = text
    return value if value.bit_length() < _MAX_BITS else None


def _number(text: str) -> Number | None:
    value = Number(text)
    value.written = text
    return value if math.isfinite(value) else None


def _tag(node: yaml.Node) -> str:
    return str(node.tag).replace(_TAG, "!!")


def _place(node: Any, source: str) -> Place:
    return Place(source, node.start_mark.line + 1, node.start_mark.column + 1)
