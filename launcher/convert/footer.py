"""The comments at the end of a converted config: what is to be set, to be looked at, and lost."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.config.load import dotted
from launcher.convert.ledger import Kind, Ledger, Note, values
from launcher.convert.tree import Comment, Section, comments
from launcher.convert.writer import WIDTH

TITLES: dict[Kind, str] = {
    "set": "To be set:",
    "warning": "To be looked at:",
    "dropped": "Not carried over:",
}


def homeless(part: Section, tree: Section, head: Sequence[Comment], ledger: Ledger) -> list[tuple[str, Comment]]:
    """Comments of keys that were converted, but to no one place."""
    placed = {c.line for c, _ in comments(tree)} | {c.line for c in head}
    placed |= {c.line for note in ledger.notes for c in note.comments}
    return [(dotted(path), c) for c, path in comments(part) if c.line not in placed]


def footer(ledger: Ledger, homeless: Sequence[tuple[str, Comment]]) -> list[str]:
    lines: list[str] = []
    for kind, title in TITLES.items():
        notes = ledger.of(kind)
        if not notes:
            continue
        lines += ["", title] if lines else [title]
        for note in notes:
            if kind == "dropped":
                lines += _dropped(note)
            else:
                lines += _wrapped(f"{note.key}: {note.message}" if note.key else note.message)
    if homeless:
        lines += ["", "Further comments of the source:"] if lines else ["Comments of the source:"]
        lines += [f"  {key}: {c.text.lstrip('#').strip()}" for key, c in homeless]
    return lines


def _dropped(note: Note) -> list[str]:
    value = "" if note.value is None else f" {values(note)}"
    lines = _wrapped(f"{note.key}:{value}", extra=6)
    lines += [f"  {line}" for line in _wrapped(f"- {note.message}", extra=4)]
    return lines + [f"    {c.text}" for c in note.comments if c.text]


def _wrapped(text: str, extra: int = 4) -> list[str]:
    """The text in lines that fit, the first indented by two, the others by `extra`."""
    lines, line = [], " "
    for word in text.split(" "):
        if line.strip() and len(line) + 1 + len(word) > WIDTH - 2:
            lines.append(line)
            line = " " * (extra - 1)
        line += " " + word
    return [*lines, line]
