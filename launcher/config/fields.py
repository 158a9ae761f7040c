"""The types of a config's fields, each with the check of its values."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from launcher.base.plugins import ENGINES, RUNTIMES, Registry
from launcher.base.suggest import nearest
from launcher.config.names import NAME, not_a_secret, not_to_be_set

AT_KEYS = "at_keys"  # the type of an error that names keys inside its mapping


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        rule = "letters, digits, '.', '_' and '-', at most 63 of them, a letter or digit first"
        raise ValueError(f"not {_shown(value)}; use {rule}")
    return value


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else value[:77] + "...")


def _known(registry: Registry) -> AfterValidator:
    """As pydantic's Literal, for names that are known only when they are asked for."""

    def check(value: str) -> str:
        if value not in registry.ours and value not in (names := registry.names()):
            *others, last = map(repr, names)
            expected = f"{', '.join(others)} or {last}"
            raise PydanticCustomError("literal_error", "not a known name", {"expected": expected})
        return value

    return AfterValidator(check)


def _one_line(value: str) -> str:
    if not value:
        raise ValueError("must not be an empty text")
    if _has_control(value):
        raise ValueError("must be one line of text without control characters")
    return value


def _has_control(value: str) -> bool:
    return any(ord(c) < 32 or ord(c) == 127 for c in value)


def at_keys(found: list[tuple[str, str]]) -> None:
    """Raises the mistakes of a mapping, each at its key: (key, what is wrong)."""
    if found:
        raise PydanticCustomError(AT_KEYS, "mistakes in the mapping", {"found": found})


def _env(value: dict[str, Any]) -> dict[str, str]:
    out: dict[str, str] = {}
    problems = []
    for key, item in value.items():
        if isinstance(item, bool):
            item = "true" if item else "false"
        if why := not_to_be_set(key):
            problems.append((key, why))
        elif item is None or isinstance(item, (dict, list)):
            kind = "a list" if isinstance(item, list) else "a mapping"
            kind = kind if item is not None else 'null (write "" for an empty value)'
            problems.append((key, f"must be a string, a number, true or false, not {kind}"))
        elif _has_control(str(item)):
            problems.append((key, "must be one line of text without control characters"))
        out[key] = str(item)
    at_keys(problems)
    return out


def _env_from(value: Any) -> Any:
    """[A, {B: file:PATH}] and {A: null, B: file:PATH} are {A: None, B: PATH}."""
    items = value if isinstance(value, list) else [value]
    out: dict[str, str | None] = {}
    for item in items:
        pairs = item.items() if isinstance(item, dict) else [(item, None)]
        for name, origin in pairs:
            why = not_a_secret(name) if isinstance(name, str) else "not a name"
            if why:
                raise ValueError(f"{str(name)[:80]!r}: {why}")
            if origin is not None and not (isinstance(origin, str) and re.fullmatch(r"file:[^\x00-\x1f\x7f]+", origin)):
                raise ValueError(f"{name}: write `{name}` (from your environment) or `{name}: file:PATH`")
            if name in out:
                raise ValueError(f"{name} is given twice")
            out[name] = origin.removeprefix("file:") if origin else None
    return out


def _flags(value: dict[str, Any]) -> dict[str, Any]:
    """Flag names as SGLang spells them: `tp_size` and `--tp-size` are `tp-size`."""
    out: dict[str, Any] = {}
    problems = []
    for key, item in value.items():
        flag = key.removeprefix("--").replace("_", "-")
        items = item if isinstance(item, list) else [item]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", flag):
            problems.append((key, "not the name of a flag"))
        elif flag in out:
            problems.append((key, f"{flag} is given twice, in two spellings; keep one"))
        elif isinstance(item, list) and any(i is None or isinstance(i, (dict, list, bool)) for i in items):
            problems.append((key, "a list of values takes texts and numbers alone"))
        elif any(isinstance(i, str) and _has_control(i) for i in items):
            problems.append((key, "must be one line of text without control characters"))
        # SGLang reads numbers in decimal alone
        out[flag] = int(item) if isinstance(item, int) and not isinstance(item, bool) else item
    at_keys(problems)
    return out


def _text(value: Any) -> Any:
    """Numbers are fine where a text is meant: `account: 17`."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _auto_port(value: Any) -> Any:
    if value == "auto" or (type(value) is int and 1 <= value <= 65535):
        return value
    shown = _shown(value) if isinstance(value, str) else "null" if value is None else str(value)[:60]
    near = nearest(value, ["auto"]) if isinstance(value, str) else ""
    raise ValueError(f"must be 'auto' or a port from 1 to 65535, not {shown}{near}")


def node_gpus(value: Any) -> Any:
    """A number alone; a type has a key of its own."""
    if isinstance(value, str) and (found := re.fullmatch(r"(?:gpu:)?([A-Za-z][\w.+-]*):(\d+)", value)):
        raise ValueError(f"must be the number alone: write gpus_per_node: {found[2]} and gpu_type: {found[1]}")
    return value


def no_lines(value: Any) -> Any:
    """`null` is no line."""
    return [] if value is None else value


Text = Annotated[str, BeforeValidator(_text), AfterValidator(_one_line)]
Name = Annotated[str, BeforeValidator(_text), AfterValidator(_name)]
Engine = Annotated[str, _known(ENGINES)]
Runtime = Annotated[str, _known(RUNTIMES)]
Env = Annotated[dict[str, Any], AfterValidator(_env)]
# written as it is read
EnvFrom = Annotated[
    dict[str, str | None],
    BeforeValidator(_env_from),
    PlainSerializer(lambda names: {name: path and f"file:{path}" for name, path in names.items()}),
]
Flags = Annotated[dict[str, Any], AfterValidator(_flags)]
Port = Annotated[int, Field(ge=1, le=65535)]
# the check comes first: a union by itself reports one mistake once a branch
AutoPort = Annotated[Literal["auto"] | Port, BeforeValidator(_auto_port)]
FrontPort = Annotated[Literal["auto", "unix"] | Port, BeforeValidator(lambda v: v if v == "unix" else _auto_port(v))]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Workers = Annotated[int, Field(ge=0, le=1024)]
# AfterValidator: a plain float, however it was written (see yamlpos.Number)
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(float)]
