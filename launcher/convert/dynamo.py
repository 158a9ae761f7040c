"""A recipe's `dynamo`: srtctl installs Dynamo when the job starts; here the image holds it."""

from __future__ import annotations

from launcher.catalog.releases import CatalogError, order
from launcher.convert.draft import Draft, section_of
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Item, Section

_DEFAULT = "0.8.0"  # what srtctl of the first schema installs when a recipe does not say
_SOURCES = ("version", "wheel", "hash", "top_of_tree")


def dynamo(recipe: Section, draft: Draft, ledger: Ledger) -> None:
    """`dynamo_version`, and what is to be set or done otherwise about the rest, key by key."""
    if draft.engine != "dynamo":
        return  # the whole is of no use without Dynamo
    section = section_of(recipe.get("dynamo"))
    source = section_of(section.get("source"))
    install = section.get("install")
    items = [i for i in (*section.items, *source.items) if i.key in (*_SOURCES, "pypi", "git", "rev", "sha")]
    for item in items:
        if item.key in ("version", "pypi", "wheel") and _version(item):
            draft.dynamo_version = str(item.value).removeprefix("v")
        ledger.use(item)
    if install is not None and install.value is False:
        ledger.use(install)
    elif items or section.items:
        what = ", ".join(f"{i.key} {i.value}" for i in items)
        message = (
            f"srtctl installs Dynamo{f' ({what})' if what else ''} when the job starts; here the image must hold it"
        )
        ledger.to_set(f"container.image: {message}", recipe.get("dynamo"))
        ledger.use(install)
    else:
        ledger.to_set(
            f"container.image: srtctl installs Dynamo when the job starts ({_DEFAULT} unless its default has changed); "
            "here the image must hold it"
        )
    for key, own in (("request_plane", "tcp"), ("event_plane", "nats")):
        plane = section.get(key)
        if plane is not None and plane.value == own:
            ledger.use(plane)
        elif plane is not None:
            ledger.drop(plane, f"{own} is what it is here: {key.split('_')[0]}s of Dynamo go over {own.upper()}")
    for item in section.items:
        if item.key.startswith("sidecar"):
            ledger.drop(item, "a worker is python -m dynamo.sglang here, without a sidecar")


def _version(item: Item) -> bool:
    try:
        return order(str(item.value))[0] < 100 and "." in str(item.value)
    except CatalogError:
        return False
