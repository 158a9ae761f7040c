"""The SGLang versions that there are catalogues of, their flags, and which version is nearest to another.

``data/flags.json`` holds all catalogues. `tools/make_catalog.py` makes it from each version's own
``ServerArgs.add_cli_args``, with a line for each form that a flag has had:

    {"versions": {"0.5.23": [module, …], …},         oldest first; what was stood in for while it was read (extract.py)
     "flags": [{"from": "0.5.3", "to": "0.5.16",     the versions of the file that have it so; the newest without "to"
                "names": [canonical, alias, …],      long names without the leading dashes
                "type": "int" | "str" | "switch" | "onoff" | …,   default: a value follows
                "nargs": "+" | "*" | "?",            only where more or less than one value follows
                "choices": […], "default": …, "required": true,   only where there are any
                "dest": "…",                         only where it isn't the canonical name
                "deprecated": "--new-name=value" | "",  what the release itself says to use instead
                "inert": true,                       accepted, but without any effect
                "refused": true,                     known, but SGLang stops when it is given
                "short": ["-x"]}, …]}                one-letter names; no version has had any

A *switch* takes no value; an *onoff* has ``--x`` and ``--no-x``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "flags.json"


class CatalogError(Exception):
    """No catalogue for a version, or an interpreter whose SGLang can't be asked."""


@functools.cache
def read() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return data


def versions() -> list[str]:
    """The SGLang versions there are catalogues of, oldest first."""
    return list(read()["versions"])


def rows(version: str, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The flags of one version of the file, as extract.py describes them."""
    place = {v: n for n, v in enumerate(data["versions"])}
    here = place[version]
    for row in data["flags"]:
        if place[row["from"]] <= here <= place.get(row.get("to"), here):
            yield {k: v for k, v in row.items() if k not in ("from", "to")}


@functools.cache
def usual_names() -> dict[str, str]:
    """Every name of every version -> the flag's usual one, as the newest version that has it says."""
    place = {v: n for n, v in enumerate(versions())}
    found = sorted(read()["flags"], key=lambda row: place.get(row.get("to"), len(place)))
    return {name: row["names"][0] for row in found for name in row["names"]}


@functools.cache
def _histories() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for version in versions():
        for row in rows(version, read()):
            for name in row["names"]:
                found.setdefault(name, []).append(version)
    return found


def history(name: str) -> list[str]:
    """The versions that have a flag of exactly this name, oldest first."""
    return _histories().get(name, [])


def order(version: str) -> tuple[int, int, int, int, int]:
    """A version's place: release, then pre-release, release and post-release."""
    found = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(.*)", version.strip())
    if not found:
        raise CatalogError(f"{version!r} is not a version of SGLang, such as 0.5.23")
    major, minor, patch = (int(n or 0) for n in found.groups()[:3])
    rest = found.group(4).split("+")[0]
    post = re.search(r"post(\d+)", rest)
    pre = re.search(r"(?:rc|a|b|dev)(\d*)", rest)
    return (major, minor, patch, -1 if pre and not post else 0, int(post.group(1)) if post else 0)


def nearest_version(version: str) -> str:
    """The version with a catalogue that is nearest to `version`; itself if it has one.

    Of two equally near it is the older one, whose flags a newer release mostly still has. Raises
    CatalogError for a text that is no version.
    """
    known = versions()
    if version in known:
        return version
    wanted = order(version)
    series = [v for v in known if order(v)[:2] == wanted[:2]]
    if not series:
        older = [v for v in known if order(v) < wanted]
        return older[-1] if older else known[0]

    def distance(other: str) -> float:
        theirs = order(other)
        return abs((wanted[2] + wanted[4] / 100) - (theirs[2] + theirs[4] / 100))

    return min(series, key=distance)  # the first, which is the older, of two equally near
