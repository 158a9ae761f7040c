"""Values of flags: argparse judges them, as SGLang's own command line does; the advice is ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from launcher.catalog.flags import Flag, Problem


def _human(text: str) -> str:
    """SGLang's human_readable_int: 1k is 1000, 1Ki is 1024; decimals only with k, M, G, T."""
    if not re.fullmatch(r"\d+(?:\.\d+)?[kMGT]|\d+[KMGT]i", text.strip()):
        int(text)
    return text


def _json(kind: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if not isinstance(value := json.loads(text), kind):
            raise ValueError(text)
        return value

    return parse


def _nullable(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text.strip().lower() in ("none", "null") else kind(text)


# The types there are: what reads them, what a value is called, and an example. Others are texts, some of them JSON.
TYPES: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "int": (int, "a whole number", "8"),
    "float": (float, "a number", "0.85"),
    "nullable_int": (_nullable(int), "a whole number", "8"),
    "nullable_float": (_nullable(float), "a number", "0.85"),
    "human_readable_int": (_human, "a whole number, plain or like 16k or 16Ki", "16Ki"),
    "json_list_type": (_json(list), "a list", "[1, 2]"),
    "loads": (_json(object), "a mapping or JSON", "{name: value}"),
    "parse_cuda_graph_config_arg": (_json(dict), "a mapping or JSON", "{decode: {backend: disabled}}"),
}
_TEXT = (str, "a string", "name")
_LISTS = ("json_list_type", "loads")  # a list is one value of these


def shown(value: Any) -> str:
    """A value as its YAML or JSON looks; long ones are cut."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def bare(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _refusal(flag: Flag, values: Sequence[Any], nargs: str | int | None = None) -> str:
    """What argparse says of values that are given to the flag; empty if it takes them."""
    import argparse

    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    words = [v if isinstance(v, str) else json.dumps(v) for v in values]
    parser.add_argument("--x", type=TYPES.get(flag.type, _TEXT)[0], nargs=nargs, choices=flag.choices or None)
    try:
        parser.parse_args(["--x", *words] if nargs else [f"--x={words[0]}"])
    except argparse.ArgumentError as error:
        return error.message
    return ""


def check_value(flag: Flag, key: str, value: Any) -> Problem | None:
    if value is None:
        advice = f"Write {key}: true" if flag.is_switch else f"Give {key} a value"
        return Problem(key, "type", "it has no value", f"{advice}, or leave it out")
    if flag.is_switch:
        return None if isinstance(value, bool) else _not_a_switch(key, value)
    if flag.nargs == "?" and value is True:
        return None  # the flag alone
    if not isinstance(value, (list, tuple)) or flag.type in _LISTS:
        return _check_one(flag, key, value)
    if not flag.many:
        advice = f"Write {key}: {bare(value[0])}" if len(value) == 1 else "Keep one of them"
        return Problem(key, "count", f"it takes one value, not a list of {len(value)}", advice)
    wrong = next(filter(None, (_check_one(flag, key, one, item=True) for one in value)), None)
    if wrong is None and _refusal(flag, value, flag.nargs):
        many = "one value or more" if flag.nargs == "+" else f"{flag.nargs} values"
        message = f"it takes {many}, not {len(value)}" if value else "the list is empty"
        return Problem(key, "count", message, f"Give {many}, or leave it out")
    return wrong


def _check_one(flag: Flag, key: str, value: Any, item: bool = False) -> Problem | None:
    """`item`: it is one value of a list."""
    if value is None or isinstance(value, bool) or (isinstance(value, (list, tuple)) and flag.type not in _LISTS):
        return _wrong_type(flag, key, value, item)
    said = _refusal(flag, [value])
    if said.startswith("invalid choice"):
        import difflib  # takes some ms; only a mistake needs it

        near = difflib.get_close_matches(str(value), [str(c) for c in flag.choices], n=1, cutoff=0.6)
        hint = f"Did you mean {near[0]}? " if near else ""
        return Problem(key, "choice", f"invalid value {shown(value)}", hint + _choices(flag))
    return _wrong_type(flag, key, value, item) if said else None


def _choices(flag: Flag) -> str:
    return "Choose from " + ", ".join(bare(c) for c in flag.choices)


def _not_a_switch(key: str, value: Any) -> Problem:
    words = {"true": "true", "yes": "true", "on": "true", "1": "true", "false": "false", "no": "false", "0": "false"}
    meant = words.get(str(value).strip().lower())
    quotes = ", without quotes" if isinstance(value, str) else ""
    advice = f"Write {key}: {meant}{quotes}" if meant else f"Write {key}: true, or leave it out"
    return Problem(key, "type", f"this flag is a switch: it takes true or false, not {shown(value)}", advice)


def _wrong_type(flag: Flag, key: str, value: Any, item: bool) -> Problem:
    _, expected, example = TYPES.get(flag.type, _TEXT)
    if flag.default is not None and not isinstance(flag.default, (list, dict)):
        example = bare(flag.default)
    if flag.many:
        example = f"[{example}]"
        if not item:
            expected = re.sub(r"^a (whole )?number", r"a list of \1numbers", expected)
    advice = "" if item else _reading(flag, key, value)
    if not advice and flag.choices:
        advice = _choices(flag)
    if not advice and isinstance(value, bool) and flag.type not in TYPES:
        # Unquoted yes, no, on and off are booleans in YAML.
        advice = f'If you mean the word, quote it: {key}: "{shown(value)}"'
    message = f"the value {shown(value)} is not {expected}"
    return Problem(key, "type", message, advice or f"Write, for example, {key}: {example}")


def _reading(flag: Flag, key: str, value: Any) -> str:
    """What a value of the wrong type most likely means, as advice; empty if nothing likely."""
    text = str(value).strip()
    if flag.many:
        parts = [p for p in re.split(r"[\s,]+", text.strip("[] ")) if p]
        right = parts and not any(_refusal(flag, [p]) for p in parts)
        return f"Write {key}: [{', '.join(parts)}]" if right else ""
    if isinstance(value, bool) or flag.type not in ("int", "float", "human_readable_int"):
        return ""
    plain = re.sub(r"(?<=\d)[ ,_](?=\d{3}\b)", "", text)
    try:
        number = float(plain.replace(",", ".") if flag.type == "float" else plain)
    except ValueError:
        return ""
    whole = number.is_integer() and abs(number) < 1e15
    if flag.type != "float" and not whole:
        return ""
    return f"Write {key}: {number:g}" if flag.type == "float" else f"Write {key}: {int(number)}"
