"""Which key a comment belongs to. ruamel.yaml finds the comments."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from launcher.convert.tree import Comment, Item, Section, walk

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML 1.1's line breaks


def attach(root: Section, text: str) -> Section:
    """The tree with the text's comments: those above a key, beside it, or under a mapping's last one.

    Raises ruamel.yaml's YAMLError where it reads less than PyYAML.
    """
    lines = _BREAK.split(text)
    items = sorted(walk(root), key=lambda item: _at(item)[0])
    starts = [_at(item)[0] for item in items]
    above: dict[int, dict[int, str]] = defaultdict(dict)  # id of an item -> line -> comment
    under: dict[int, dict[int, str]] = defaultdict(dict)
    beside: dict[int, Comment] = {}
    for line, column, comment in _comments(text, lines):
        after = bisect_right(starts, line)
        before, following = items[:after], items[after : after + 1]
        if before and lines[line - 1][: column - 1].strip():
            if beside.setdefault(id(before[-1]), Comment(comment, line)).line != line:
                above[id(before[-1])][line] = comment
        elif following and (not before or _at(following[0])[1] >= min(column, _at(before[-1])[1])):
            above[id(following[0])][line] = comment
        else:  # deeper than what follows
            owner = next((i for i in reversed(before) if _at(i)[1] <= column), root.items[-1])
            under[id(owner)][line] = comment

    def spaced(found: Mapping[int, str], end: int) -> tuple[Comment, ...]:
        """The comments, with an empty one for each empty line before `end`."""
        first = max(1, min([end, *found]) - 1)
        empty = {n for n in range(first, end) if not lines[n - 1].strip()}
        return tuple(Comment(found.get(n, ""), n) for n in sorted({*found, *empty}))

    def one(item: Item) -> Item:
        last = under.get(id(item), {})
        return replace(
            item,
            value=rebuilt(item.value) if isinstance(item.value, Section) else item.value,
            above=spaced(above.get(id(item), {}), _at(item)[0]),
            beside=beside.get(id(item)),
            under=spaced(last, max(last, default=0)),
        )

    def rebuilt(section: Section) -> Section:
        return Section(tuple(map(one, section.items)))

    return rebuilt(root)


def _comments(text: str, lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Line, column and text of every comment, in order."""
    from ruamel.yaml import YAML
    from ruamel.yaml.tokens import CommentToken

    at = 0
    for token in YAML(pure=True).scan(text):
        parts = [c for part in token.comment or () for c in (part if isinstance(part, list) else [part])]
        for part in sorted((c for c in parts if isinstance(c, CommentToken)), key=lambda c: c.start_mark.index):
            at = max(at, part.start_mark.line)
            for comment in map(str.strip, _BREAK.split(part.value)):
                if not comment.startswith("#"):
                    continue
                while not lines[at].rstrip().endswith(comment):  # it may begin on a later line than its token
                    at += 1
                at += 1
                yield at, len(lines[at - 1].rstrip()) - len(comment) + 1, comment


def _at(item: Item) -> tuple[int, int]:
    """Line and column; 0 where there are none."""
    return ((item.place.line or 0), (item.place.column or 0)) if item.place else (0, 0)
