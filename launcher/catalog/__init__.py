"""What SGLang's command line accepts, per version, without SGLang.

One JSON file per version in ``data/``, made by ``tools/make_catalog.py`` from that version's own
``ServerArgs.add_cli_args``:

    {"version": "0.5.23",
     "stood_in": [module, …],          what was stood in for while it was read (see extract.py)
     "flags": [{"names": [canonical, alias, …],      long names without the leading dashes
                "type": "int" | "str" | "switch" | "onoff" | …,   default: a value follows
                "nargs": "+" | "*" | "?",            only where more or less than one value follows
                "choices": […], "default": …, "required": true,   only where there are any
                "dest": "…",                         only where it isn't the canonical name
                "deprecated": "--new-name=value" | "",  what the release itself says to use instead
                "inert": true,                       accepted, but without any effect
                "refused": true,                     known, but SGLang stops when it is given
                "short": ["-x"]}, …]}                one-letter names; no version has had any

A *switch* takes no value; an *onoff* has ``--x`` and ``--no-x``. Loading one catalogue takes
about 4 ms; nothing heavier than the standard library is imported.
"""

from __future__ import annotations

import functools

from launcher.catalog.catalog import Catalog
from launcher.catalog.flags import CatalogError, Flag, Problem
from launcher.catalog.installed import installed_catalog
from launcher.catalog.lookup import dashed, flags_of
from launcher.catalog.releases import nearest_version, versions

__all__ = [
    "Catalog",
    "CatalogError",
    "Flag",
    "Problem",
    "dashed",
    "installed_catalog",
    "load",
    "nearest_version",
    "versions",
]


@functools.cache
def load(version: str) -> Catalog:
    """The catalogue of exactly `version`.

    Raises CatalogError, naming the versions there are, if it has none; see nearest_version().
    """
    return Catalog(version, flags_of(version))
