"""Site files: which there are, and what they set. Without pydantic: commands that look at runs need `runs` alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from launcher.base.errors import InputError, Place, Problem

Layer = tuple[dict[str, Any], dict[tuple[Any, ...], Place]]


def site_files() -> list[Path]:
    """Site files, weakest first: $SGL_LAUNCH_SITE alone, or the machine's, then the user's."""
    if chosen := os.environ.get("SGL_LAUNCH_SITE"):
        return [Path(chosen)]
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))
    files = [Path("/etc/sgl-launch/site.yaml"), config_home / "sgl-launch" / "site.yaml"]
    return [f for f in files if f.is_file()]


def site_value(key: str) -> str | None:
    """A text of the site files by its key (`a.b`: b of a); None when none sets it."""
    value = None
    for site in site_files():
        data, places = site_layer(site)
        keys, found = tuple(key.split(".")), data
        for one in keys[:-1]:
            inner = found.get(one)
            found = inner if isinstance(inner, dict) else {}
        if keys[-1] in found:
            value = found[keys[-1]]
            if not isinstance(value, str) or not value:
                raise InputError(Problem(f"must be a string, not {short(value)}", places[keys], key))
    return value


def site_layer(path: Path) -> Layer:
    """A site file: a config file that may set as little as it likes."""
    if not path.exists():
        raise InputError(Problem("no such file; SGL_LAUNCH_SITE names it", Place(str(path))))
    from launcher.config.yamlpos import parse_file

    return ({}, {}) if parse_file(path)[0] is None else mapping_of(path)


def mapping_of(path: Path) -> Layer:
    from launcher.config.yamlpos import parse_file

    data, places = parse_file(path)
    if data is None:
        raise InputError(Problem("the file is empty; it needs name, model and the workers", Place(str(path))))
    if not isinstance(data, dict):
        raise InputError(Problem("must be a mapping (key: value)", Place(str(path), 1, 1)))
    return data, places


def printable(text: str) -> str:
    """One line for a terminal, whatever stood in the input."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def short(value: Any) -> str:
    """A value as YAML would have it, more or less."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
