"""Which releases of Dynamo, SGLang and NIXL go together, and which of them an image's name tells."""

from __future__ import annotations

import re
from typing import NamedTuple

from launcher.catalog.releases import CatalogError, order

# Dynamo's minor release, the SGLang that the extra ai-dynamo[sglang] of its last patch asks for, and the NIXL beside
# it. Read from the METADATA of ai-dynamo 0.4.1, 0.5.1, 0.6.1, 0.7.1, 0.8.1, 0.9.1, 1.0.2, 1.1.1, 1.2.1, 1.3.1, 1.4.2,
# 1.5.1 and 1.6.1 on PyPI (November 2026).
PAIRS = (
    ("0.4", "0.5.0rc2", "0.4.1"),
    ("0.5", "0.5.0rc2", "0.4.1"),
    ("0.6", "0.5.3.post2", "0.7.0"),
    ("0.7", "0.5.4.post3", "0.7.1"),
    ("0.8", "0.5.6.post2", "0.8.0"),
    ("0.9", "0.5.8", "0.9.0"),
    ("1.0", "0.5.9", "0.10.1"),
    ("1.1", "0.5.10.post1", "1.0"),
    ("1.2", "0.5.11", "1.0"),
    ("1.3", "0.5.14", "1.0"),
    ("1.4", "0.5.16", "1.3.0"),
    ("1.5", "0.5.18", "1.4.0"),
    ("1.6", "0.5.21", "1.5.0"),
)

# When the wheel of a release was built (dates of the files in it): an image of a later day has at least that.
BUILT = (
    ("0.5.3", "20251006"),
    ("0.5.5.post2", "20251112"),
    ("0.5.7", "20260101"),
    ("0.5.8", "20260123"),
    ("0.5.8.post1", "20260205"),
    ("0.5.9", "20260223"),
    ("0.5.10", "20260405"),
    ("0.5.11", "20260507"),
    ("0.5.12", "20260516"),
    ("0.5.13", "20260611"),
    ("0.5.14", "20260626"),
    ("0.5.15", "20260710"),
    ("0.5.16", "20260725"),
    ("0.5.17", "20260808"),
    ("0.5.18", "20260821"),
    ("0.5.19", "20260904"),
    ("0.5.20", "20260918"),
    ("0.5.21", "20261001"),
    ("0.5.22", "20261015"),
    ("0.5.23", "20261030"),
)

_DAY = re.compile(r"(?:nightly|dev)[\w.-]*?(?<!\d)(202[5-9][01]\d[0-3]\d)(?!\d)")
_VERSION = re.compile(r"(?<![\d.])v?(\d{1,2}\.\d{1,2}\.\d{1,2}(?:\.?(?:post|rc)\d+)?)(?![\d]|\.\d)")


class Versions(NamedTuple):
    """Releases, as far as they are known; empty where not."""

    sglang: str = ""
    dynamo: str = ""


def sglang_of(dynamo: str) -> str:
    """The SGLang that a Dynamo is made for; empty for a Dynamo that is older than all in the table, or newer."""
    try:
        minor = order(dynamo)[:2]
    except CatalogError:
        return ""
    return next((sglang for own, sglang, _ in PAIRS if order(own)[:2] == minor), "")


def nixl_of(dynamo: str) -> str:
    """The NIXL beside a Dynamo's SGLang; empty as for sglang_of."""
    made_for = sglang_of(dynamo)
    return next((nixl for own, sglang, nixl in reversed(PAIRS) if made_for and sglang == made_for), "")


def dynamo_of(sglang: str) -> str:
    """The Dynamo that is likely beside an SGLang, by its first two numbers: the last that was made for it, or for one
    before it."""
    try:
        fitting = [own for own, made_for, _ in PAIRS if order(made_for) <= order(sglang)]
    except CatalogError:
        return ""
    return fitting[-1] if fitting else ""


def of_image(image: str) -> Versions:
    """What an image's name tells: lmsysorg/sglang:v0.5.16-cu130, ai-dynamo/sglang-runtime:1.4.2, x-v0.5.8.sqsh.

    A nightly one is the release before its day and some more: sglang:nightly-dev-20260707 is 0.5.14+nightly.20260707.
    """
    name = image.lower()
    found = [m[1] for m in _VERSION.finditer(name)]
    dynamos = [v for v in found if _is_dynamo(v, name)]
    sglangs = [v for v in found if v not in dynamos and order(v)[:2] in ((0, 4), (0, 5))]
    dynamo = dynamos[0] if dynamos else ""
    day = _DAY.search(name) if not found and "sglang" in name else None
    before = [release for release, built in BUILT if day and built < day[1]]
    sglangs += [f"{release}+nightly.{day[1]}" for release in before[-1:] if day]
    return Versions(sglangs[0] if sglangs else sglang_of(dynamo) if dynamo else "", dynamo)


def _is_dynamo(version: str, name: str) -> bool:
    if "dynamo" not in name and "sglang-runtime" not in name:
        return False
    return order(version) >= (0, 6, 0, 0, 0) or order(version)[:3] in ((0, 4, 0), (0, 4, 1), (0, 5, 0), (0, 5, 1))
