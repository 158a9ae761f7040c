"""Which key a comment belongs to."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from launcher.convert.tree import Comment, Item, Section

_Found = tuple[Item, tuple[Section, ...]]  # a key, and the mappings around it

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML 1.1's line breaks


def attach(root: Section, text: str, scalars: Sequence[tuple[int, int]]) -> Section:
    """The tree with the text's comments: those above a key, beside it, or below the last one."""
    lines = _lines(text)
    items = sorted(_walk(root), key=lambda pair: _line(pair[0]))
    starts = [_line(item) for item, _ in items]
    above: dict[int, list[Comment]] = {}
    beside: dict[int, Comment] = {}
    below: dict[int, list[Comment]] = {}
    for line, column, own_line, comment in _comments(text, lines, scalars):
        after = bisect_right(starts, line)
        before = items[after - 1] if after else None
        if not own_line and before:
            beside.setdefault(id(before[0]), comment)
            if beside[id(before[0])] is not comment:
                above.setdefault(id(before[0]), []).append(comment)
        elif after < len(items) and _goes_on(before, items[after], column):
            above.setdefault(id(items[after][0]), []).append(comment)
        else:
            section = _section_at(before, column, root)
            below.setdefault(id(section), []).append(comment)
    empty = {n for n, (_, body) in enumerate(lines, 1) if not body.strip()}

    def rebuilt(section: Section) -> Section:
        return Section(
            tuple(one(item) for item in section.items),
            _spaced(below.get(id(section), ()), 0, empty),
        )

    def one(item: Item) -> Item:
        mine = _spaced(above.get(id(item), ()), _line(item), empty)
        first = mine[0].line if mine else _line(item)
        value = rebuilt(item.value) if isinstance(item.value, Section) else item.value
        return replace(item, value=value, above=mine, beside=beside.get(id(item)), gap=first - 1 in empty)

    return rebuilt(root)


def _spaced(found: Sequence[Comment], end: int, empty: set[int]) -> tuple[Comment, ...]:
    """The comments, with an empty one for empty lines between them (and before line `end`)."""
    out: list[Comment] = []
    for number, this in enumerate(found):
        out.append(this)
        following = found[number + 1].line if number + 1 < len(found) else end
        if following > this.line + 1 and this.line + 1 in empty:
            out.append(Comment("", this.line))
    return tuple(out)


def _lines(text: str) -> list[tuple[int, str]]:
    """Every line with the index of its first character."""
    out, start = [], 0
    for match in _BREAK.finditer(text):
        out.append((start, text[start : match.start()]))
        start = match.end()
    return [*out, (start, text[start:])]


def _comments(
    text: str, lines: Sequence[tuple[int, str]], scalars: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int, bool, Comment]]:
    """Line, column, whether nothing else is on the line, and the comment itself."""
    inside = bytearray(len(text) + 1)
    for start, end in scalars:
        inside[start:end] = b"\x01" * (end - start)
    for number, (start, body) in enumerate(lines, 1):
        for match in re.finditer(r"(?:(?<=\s)|^)#", body):
            if not inside[start + match.start()]:
                column = match.start()
                own_line = not body[:column].strip()
                yield number, column + 1, own_line, Comment(body[column:].rstrip(), number)
                break


def _walk(section: Section, parents: tuple[Section, ...] = ()) -> Iterator[_Found]:
    for item in section.items:
        chain = (*parents, section)
        yield item, chain
        if isinstance(item.value, Section):
            yield from _walk(item.value, chain)


def _goes_on(before: _Found | None, following: _Found, column: int) -> bool:
    """Whether a comment between the two is above the second, not below the first's mapping."""
    if before is None or _column(following[0]) >= column:
        return True
    mine = following[1][-1]
    return mine is before[1][-1] or mine is before[0].value


def _section_at(before: _Found | None, column: int, root: Section) -> Section:
    """The innermost mapping around `before` whose keys start at that column or left of it."""
    if before is None:
        return root
    for section in reversed(before[1]):
        if _column(section.items[0]) <= column:
            return section
    return root


def _line(item: Item) -> int:
    return (item.place.line if item.place else None) or 0


def _column(item: Item) -> int:
    return (item.place.column if item.place else None) or 0
