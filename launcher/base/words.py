"""Words of a command line: literal texts, and references to what only the running job knows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_REF = re.compile(r"(?:[A-Za-z0-9_:/.,=@%+-]|\$\{[A-Z_][A-Z0-9_]*\})+")
_NAME = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}")


@dataclass(frozen=True)
class Ref:
    """A text with shell variables that the job script sets: `${HEAD_ADDR}:${DIST_INIT_PORT}`. Made by the launcher
    only, never from a config's text. Raises ValueError for anything that would need quoting inside double quotes."""

    text: str

    def __post_init__(self) -> None:
        if not _REF.fullmatch(self.text):
            raise ValueError(f"not a reference: {self.text!r}")

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with the variables that are known put in; others stay `${NAME}`."""
        return _NAME.sub(lambda m: values.get(m[1], m[0]), self.text)


@dataclass(frozen=True)
class Joined:
    """One word made of several: a literal text beside a reference."""

    parts: tuple[str | Ref, ...]


Word = str | Ref | Joined


def names(word: Word) -> list[str]:
    """The shell variables that a word refers to."""
    if isinstance(word, Joined):
        return [name for part in word.parts for name in names(part)]
    return _NAME.findall(word.text) if isinstance(word, Ref) else []


def quote(word: object) -> str:
    """The one quoting filter: any value as exactly one word of bash."""
    if isinstance(word, Ref):
        return f'"{word.text}"'
    if isinstance(word, Joined):
        return "".join(quote(part) for part in word.parts)
    if isinstance(word, bool):
        return "true" if word else "false"
    if isinstance(word, (str, int, float)):
        return shlex.quote(str(word))
    raise TypeError(f"can't be a word of a command: {word!r}")


def shown(word: Word, values: Mapping[str, str]) -> str:
    """A word for people and JSON."""
    if isinstance(word, Joined):
        return "".join(shown(part, values) for part in word.parts)
    return word.fill(values) if isinstance(word, Ref) else word


def flag_lines(argv: Iterable[str]) -> list[str]:
    """A command for people: a line a flag, with its values."""
    lines: list[str] = []
    for word in argv:
        if word.startswith("--") or not lines:
            lines.append(shlex.quote(word))
        else:
            lines[-1] += " " + shlex.quote(word)
    return lines
