"""The versions that there are catalogues of, their flags, and which version is nearest to another.

``data/flags.json`` holds SGLang's catalogues, ``data/dynamo.json`` those of Dynamo's programs, one object a program.
`tools/make_catalog.py` makes them from each version's own argparse parser, with a line for each form that a flag has
had:

    {"versions": {"0.5.23": [module, …], …},         oldest first; what was stood in for while it was read (extract.py)
     "flags": [{"from": "0.5.3", "to": "0.5.16",     the versions of the file that have it so; the newest without "to"
                "names": [canonical, alias, …],      long names without the leading dashes
                "type": "int" | "str" | "switch" | "onoff" | …,   default: a value follows
                "nargs": "+" | "*" | "?",            only where more or less than one value follows
                "choices": […], "default": …, "required": true,   only where there are any
                "dest": "…",                         only where it isn't the canonical name
                "deprecated": "--new-name=value" | "",  what the release itself says to use instead
                "inert": true,                       accepted, but without any effect
                "refused": true,                     known, but the program stops when it is given
                "short": ["-x"]}, …]}                one-letter names; no version has had any

A *switch* takes no value; an *onoff* has ``--x`` and ``--no-x``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "flags.json"
DYNAMO = DATA.with_name("dynamo.json")


class CatalogError(Exception):
    """No catalogue for a version, or an interpreter whose SGLang can't be asked."""


@dataclass(frozen=True)
class Program:
    """A program whose flags are known by version. `title` names it in messages, `command` is what tells its flags;
    `part` is its object in the file."""

    title: str
    command: str
    file: Path = DATA
    part: str = ""

    def read(self) -> dict[str, Any]:
        """The file's object: "versions" and "flags"."""
        return _read(self.file, self.part)

    def versions(self) -> list[str]:
        """The versions there are catalogues of, oldest first."""
        return list(self.read()["versions"])

    def history(self, name: str) -> list[str]:
        """The versions that have a flag of exactly this name, oldest first."""
        return _histories(self).get(name, [])

    def neighbours(self, version: str) -> tuple[str, ...]:
        """The version itself if it has a catalogue; else the nearest before it and the nearest after it, as far as
        there are any. Raises CatalogError for a text that is no version."""
        known = self.versions()
        if version in known:
            return (version,)
        wanted = order(version)
        before = [v for v in known if order(v) < wanted]
        after = [v for v in known if order(v) >= wanted]
        return (*before[-1:], *after[:1])

    def nearest(self, version: str) -> str:
        """The version with a catalogue that is nearest to `version`; itself if it has one.

        Of two equally near it is the older one, whose flags a newer release mostly still has. Raises
        CatalogError for a text that is no version.
        """
        wanted = order(version)
        around = self.neighbours(version)
        series = [v for v in around if order(v)[:2] == wanted[:2]]

        def distance(other: str) -> float:
            theirs = order(other)
            return abs((wanted[2] + wanted[4] / 100) - (theirs[2] + theirs[4] / 100))

        return min(series, key=distance) if series else around[0]


SGLANG = Program("SGLang", "python -m sglang.launch_server")
# what it takes beside SGLang's flags
WORKER = Program("Dynamo", "python -m dynamo.sglang", DYNAMO, "worker")
FRONTEND = Program("Dynamo's frontend", "python -m dynamo.frontend", DYNAMO, "frontend")
MOCKER = Program("Dynamo's mocker", "python -m dynamo.mocker", DYNAMO, "mocker")
ROUTER = Program("Dynamo's router", "python -m dynamo.router", DYNAMO, "router")  # not one that the launcher starts
SGLANG_ROUTER = Program("sglang-router", "python -m sglang_router.launch_router", DYNAMO, "sglang-router")
SMG = Program("smg", "python -m smg.launch_router", DYNAMO, "smg")
PROGRAMS = (SGLANG, WORKER, FRONTEND, MOCKER, ROUTER, SGLANG_ROUTER, SMG)


@functools.cache
def _file(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def _read(path: Path, part: str) -> dict[str, Any]:
    data: dict[str, Any] = _file(path)[part] if part else _file(path)
    return data


def read() -> dict[str, Any]:
    return SGLANG.read()


def versions() -> list[str]:
    """The SGLang versions there are catalogues of, oldest first."""
    return SGLANG.versions()


def rows(version: str, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The flags of one version of the file, as extract.py describes them."""
    place = {v: n for n, v in enumerate(data["versions"])}
    here = place[version]
    for row in data["flags"]:
        if place[row["from"]] <= here <= place.get(row.get("to"), here):
            yield {k: v for k, v in row.items() if k not in ("from", "to")}


@functools.cache
def usual_names() -> dict[str, str]:
    """Every name of every version of SGLang -> the flag's usual one, as the newest version that has it says."""
    place = {v: n for n, v in enumerate(versions())}
    found = sorted(read()["flags"], key=lambda row: place.get(row.get("to"), len(place)))
    return {name: row["names"][0] for row in found for name in row["names"]}


@functools.cache
def _histories(program: Program) -> dict[str, list[str]]:
    data = program.read()
    place = {v: n for n, v in enumerate(data["versions"])}
    known = list(place)
    found: dict[str, set[int]] = {}
    for row in data["flags"]:
        span = range(place[row["from"]], place.get(row.get("to"), len(known) - 1) + 1)
        for name in row["names"]:
            found.setdefault(name, set()).update(span)
    return {name: [known[n] for n in sorted(numbers)] for name, numbers in found.items()}


def history(name: str) -> list[str]:
    """The versions of SGLang that have a flag of exactly this name, oldest first."""
    return SGLANG.history(name)


_NIGHTLY = 40  # after every post-release, and still nearer to its own release than to the next


def order(version: str) -> tuple[int, int, int, int, int]:
    """A version's place: release, then pre-release, release and post-release, then the nightly builds after it."""
    found = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(.*)", version.strip())
    if not found:
        raise CatalogError(f"{version!r} is not a version, such as 0.5.23")
    major, minor, patch = (int(n or 0) for n in found.groups()[:3])
    rest, _, local = found.group(4).partition("+")
    post = re.search(r"post(\d+)", rest)
    pre = re.search(r"(?:rc|a|b|dev)(\d*)", rest)
    later = _NIGHTLY if local.startswith("nightly") else 0
    return (major, minor, patch, -1 if pre and not post else 0, (int(post.group(1)) if post else 0) + later)


def nearest_version(version: str) -> str:
    """SGLANG.nearest."""
    return SGLANG.nearest(version)
