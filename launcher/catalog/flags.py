"""One flag of a SGLang version: what it takes, and what is wrong with a value given to it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "unknown",  # no version we know has it
    "ambiguous",  # short for several flags
    "renamed",  # now has another name
    "gone",  # was in an earlier version
    "later",  # came in a later version
    "twice",  # two keys set the same flag
    "type",  # the value is of the wrong type
    "choice",  # the value is not among the choices
    "count",  # too many or too few values
    "abbreviated",  # accepted: short for one flag
    "deprecated",  # accepted: goes in a coming version
    "ignored",  # accepted by SGLang, which then does nothing
]

# SGLang starts in spite of these. "ignored" isn't among them: a flag that silently does nothing
# is as wrong as one that stops the server, and harder to find.
_WARNINGS = frozenset({"abbreviated", "deprecated"})


class CatalogError(Exception):
    """No catalogue for a version, or an interpreter whose SGLang can't be asked."""


@dataclass(frozen=True)
class Problem:
    """One thing to say about one flag.

    `flag` is the key as it was written, `message` says what is wrong, `suggestion` what to do.
    Neither ends in a full stop.
    """

    flag: str
    kind: Kind
    message: str
    suggestion: str = ""

    @property
    def is_error(self) -> bool:
        """False if SGLang takes the flag and does what it says all the same."""
        return self.kind not in _WARNINGS

    @property
    def text(self) -> str:
        """Message and suggestion, without the flag: for callers that print the key themselves."""
        parts = [p[:1].upper() + p[1:] for p in (self.message, self.suggestion) if p]
        return " ".join(p if p.endswith("?") else p + "." for p in parts)

    def __str__(self) -> str:
        return f"{self.flag}: {self.text}"


@dataclass(frozen=True)
class Flag:
    """One flag of one version. Field meanings: see the module's docstring."""

    names: tuple[str, ...]
    type: str
    nargs: str | int | None = None
    choices: tuple[Any, ...] = ()
    default: Any = None
    required: bool = False
    dest: str = ""
    deprecated: str | None = None
    inert: bool = False
    refused: bool = False
    short: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The canonical name: the one that stays the same over the versions."""
        return self.names[0]

    @property
    def is_switch(self) -> bool:
        """True if no value follows the flag."""
        return self.type in ("switch", "onoff")

    @property
    def many(self) -> bool:
        """True if several values may follow."""
        return self.nargs in ("+", "*") or (isinstance(self.nargs, int) and self.nargs > 1)


# --- Values ------------------------------------------------------------------------------------

# SGLang's human_readable_int: 1k is 1000, 1Ki is 1024; decimals only with k, M, G, T.
_HUMAN_INT = re.compile(r"\d+(?:\.\d+)?[kMGT]|\d+[KMGT]i")
_JSON_TYPES = {
    "json_list_type": list,
    "loads": object,
    "parse_cuda_graph_config_arg": dict,
}
# What a value of each type is called, and an example.
_EXPECTS = {
    "int": ("a whole number", "8"),
    "float": ("a number", "0.85"),
    "human_readable_int": ("a whole number, plain or like 16k or 16Ki", "16Ki"),
    "json_list_type": ("a list", "[1, 2]"),
    "loads": ("a mapping or JSON", "{name: value}"),
    "parse_cuda_graph_config_arg": ("a mapping or JSON", "{decode: {backend: disabled}}"),
}


def _shown(value: Any) -> str:
    """A value as its YAML or JSON looks; long ones are cut."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def bare(value: Any) -> str:
    return value if isinstance(value, str) else _shown(value)


def _parses(kind: str, value: Any) -> bool:
    """Whether argparse's `type=` of that name would take `value`, written as one word."""
    if isinstance(value, bool):
        return False
    if kind == "int":
        return isinstance(value, int) or (isinstance(value, str) and _is(int, value))
    if kind == "float":
        return isinstance(value, (int, float)) or (isinstance(value, str) and _is(float, value))
    if kind == "human_readable_int":
        if isinstance(value, str):
            return bool(_HUMAN_INT.fullmatch(value.strip())) or _is(int, value)
        return isinstance(value, int)
    if kind in _JSON_TYPES:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                return False
        return isinstance(value, _JSON_TYPES[kind])
    # str, and functions of SGLang's own that take a text. Several text flags hold JSON.
    return isinstance(value, (str, int, float, dict))


def _is(kind: type, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def check_value(flag: Flag, key: str, value: Any) -> Problem | None:
    if value is None:
        advice = f"Write {key}: true" if flag.is_switch else f"Give {key} a value"
        return Problem(key, "type", "it has no value", f"{advice}, or leave it out")
    if flag.is_switch:
        return _check_switch(flag, key, value)
    if flag.nargs == "?" and value is True:
        return None  # the flag alone
    if isinstance(value, (list, tuple)) and _JSON_TYPES.get(flag.type) is not list:
        if flag.type == "loads":
            return None
        return _check_list(flag, key, value)
    if not _parses(flag.type, value):
        return _wrong_type(flag, key, value)
    return _check_choice(flag, key, value)


def _check_switch(flag: Flag, key: str, value: Any) -> Problem | None:
    if isinstance(value, bool):
        return None
    words = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false"}
    meant = words.get(str(value).strip().lower())
    if meant is not None:
        advice = f"Write {key}: {meant}, without quotes"
    elif isinstance(value, int) and value in (0, 1):
        advice = f"Write {key}: {'true' if value else 'false'}"
    else:
        advice = f"Write {key}: true, or leave it out"
    return Problem(key, "type", f"it is a switch and takes no value, not {_shown(value)}", advice)


def _check_list(flag: Flag, key: str, values: Sequence[Any]) -> Problem | None:
    if not flag.many:
        advice = f"Write {key}: {bare(values[0])}" if len(values) == 1 else "Keep one of them"
        if not values:
            advice = "Give one, or leave it out"
        return Problem(key, "count", f"it takes one value, not a list of {len(values)}", advice)
    if not values and flag.nargs == "+":
        return Problem(key, "count", "the list is empty", "Give one value or more, or leave it out")
    if isinstance(flag.nargs, int) and len(values) != flag.nargs:
        return Problem(
            key,
            "count",
            f"it takes {flag.nargs} values, not {len(values)}",
            f"Give {flag.nargs} values",
        )
    for value in values:
        if isinstance(value, (list, tuple)) or value is None or not _parses(flag.type, value):
            return _wrong_type(flag, key, value, item=True)
        problem = _check_choice(flag, key, value)
        if problem is not None:
            return problem
    return None


def _wrong_type(flag: Flag, key: str, value: Any, item: bool = False) -> Problem:
    expected, example = _EXPECTS.get(flag.type, ("a text", "name"))
    if flag.default is not None and not isinstance(flag.default, (list, dict)):
        example = bare(flag.default)
    if flag.many:
        example = f"[{example}]"
        if not item:
            expected = expected.replace("a whole number", "a list of whole numbers")
            expected = expected.replace("a number", "a list of numbers")
    advice = "" if item else _reading(flag, key, value)
    if not advice and flag.choices:
        advice = "It takes " + ", ".join(bare(c) for c in flag.choices)
    if not advice and isinstance(value, bool) and flag.type not in _EXPECTS:
        # Unquoted yes, no, on and off are booleans in YAML.
        advice = f'If you mean the word, quote it: {key}: "{_shown(value)}"'
    return Problem(
        key,
        "type",
        f"the value {_shown(value)} is not {expected}",
        advice or f"Write, for example, {key}: {example}",
    )


def _reading(flag: Flag, key: str, value: Any) -> str:
    """What a value of the wrong type most likely means, as advice; empty if nothing likely."""
    if isinstance(value, float) and value.is_integer():
        return f"Write {key}: {int(value)}"
    if not isinstance(value, str):
        return ""
    if flag.many:
        parts = [p for p in re.split(r"[\s,]+", value.strip("[] ")) if p]
        if parts and all(_parses(flag.type, p) for p in parts):
            return f"Write {key}: [{', '.join(parts)}]"
    elif flag.type in ("int", "float", "human_readable_int"):
        plain = re.sub(r"(?<=\d)[ ,_](?=\d{3}\b)", "", value.strip())
        if flag.type == "float":
            plain = plain.replace(",", ".")
        for text in (value, plain):
            if not _is(float, text):
                continue
            number = float(text)
            if flag.type == "float":
                return f"Write {key}: {number:g}"
            if number.is_integer() and abs(number) < 1e15:
                return f"Write {key}: {int(number)}"
    return ""


def _check_choice(flag: Flag, key: str, value: Any) -> Problem | None:
    if not flag.choices or value in flag.choices or str(value) in map(str, flag.choices):
        return None
    import difflib  # takes some ms; only a mistake needs it

    near = difflib.get_close_matches(str(value), [str(c) for c in flag.choices], n=1, cutoff=0.6)
    advice = "It takes " + ", ".join(bare(c) for c in flag.choices)
    if near:
        advice = f"Did you mean {near[0]}? {advice}"
    return Problem(key, "choice", f"the value {_shown(value)} is not one it takes", advice)


# --- Catalogues --------------------------------------------------------------------------------
