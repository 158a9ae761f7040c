"""The SGLang versions that there are catalogues of, and which of them is nearest to another."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from launcher.catalog.flags import CatalogError

DATA = Path(__file__).parent / "data"


def versions() -> list[str]:
    """The SGLang versions there are catalogues of, oldest first."""
    return list(_versions())


@functools.cache
def _versions() -> tuple[str, ...]:
    return tuple(sorted((p.stem for p in DATA.glob("*.json")), key=order))


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
