"""A worker's SGLang flags, under the names of one SGLang version."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import yaml

from launcher.catalog.catalog import Catalog
from launcher.catalog.given import dashed, usual_name
from launcher.catalog.releases import usual_names
from launcher.catalog.renames import ValueOf
from launcher.config.yamltext import scalar
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Comment, Item, Section, plain
from launcher.engines.base import OWNED_FLAGS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_COMMENTED = re.compile(r"#+\s*(?:--)?([A-Za-z][\w-]*)\s*:\s*(\S.*)")
_FILLED_IN = re.compile(
    r"\{(?:job_id|run_name|head_node_ip|log_dir|model_path|container_image|gpus_per_node|node|"
    r"node_id|artifact_dir|index|host|port|nginx_url|frontend_url)\}|HEAD_\w*NODE_IP"
)


class RoleFlags(NamedTuple):
    """A role's flags: those for `args`, and those that the launcher gives out, by name."""

    args: Section
    owned: dict[str, Item]


class Fate(NamedTuple):
    """What becomes of a flag: `pairs` of names and values, or the reason why there are none. The flag `gone` goes
    with it."""

    pairs: list[tuple[str, Any]]
    reason: str = ""
    gone: str = ""


def convert_flags(section: Section, catalog: Catalog, ledger: Ledger) -> RoleFlags:
    """Rename what was renamed, list what is gone; the order and the comments stay.

    The items of `owned` are left for the caller to use or drop.
    """
    args = {i.key: plain(i.value) for i in section.items if dashed(i.key) not in OWNED_FLAGS and i.value is not None}
    usual = {usual_name(key) for key in args}
    fates = {item.key: _fate(item, args, catalog) for item in section.items}
    gone = {fate.gone for fate in fates.values()}
    owned: dict[str, Item] = {}
    out: dict[str, Item] = {}
    waiting: tuple[Comment, ...] = ()  # comments of flags that went, for the next that stays or the last
    for item in section.items:
        waiting += renamed_comments(item.above, catalog)
        last = renamed_comments(item.under, catalog)
        item = replace(item, above=(), under=())
        name, kept = usual_name(item.key), 0
        if dashed(item.key) in OWNED_FLAGS:
            owned[dashed(item.key)] = item
        elif name in gone:
            ledger.use(item)
        elif fates[item.key].reason:
            ledger.drop(item, fates[item.key].reason)
        else:
            for new, value in fates[item.key].pairs:
                if new in out and plain(out[new].value) != value:
                    ledger.drop(item, f"{new} is set by {out[new].path[-1]} already")
                elif new not in out and new != name and new in usual:
                    ledger.drop(item, f"{new} is given too, and counts")
                elif new in out:
                    ledger.use(item)
                else:
                    ledger.use(item)
                    above, beside = ((), None) if kept else (waiting, item.beside)
                    out[new] = replace(item, key=new, value=value, above=above, beside=beside)
                    kept += 1
                    for problem in catalog.check({new: value}):
                        ledger.warn(f"kept. {problem.text}", item)
        waiting = (() if kept else waiting) + last
    if out and waiting:
        new = next(reversed(out))
        out[new] = replace(out[new], under=waiting)
    return RoleFlags(Section(tuple(out.values())), owned)


def _fate(item: Item, args: Mapping[str, Any], catalog: Catalog) -> Fate:
    value, reason = one_line(plain(item.value))
    if not _NAME.fullmatch(dashed(item.key)):
        reason = "not the name of a flag"
    elif value is None:
        reason = "it has no value"
    elif value == "auto" and dashed(item.key).endswith("-endpoint"):
        reason = "srtctl gives out its port; sgl-launch has none for it"
    return Fate([], reason) if reason else today(item.key, value, catalog, args)


def today(name: str, value: Any, catalog: Catalog, args: Mapping[str, Any]) -> Fate:
    """A flag that is among `args` under the catalogue's name for it, or the reason why there is none."""
    flag = catalog.flag(name)
    if flag is None or flag.deprecated is not None:
        instead = catalog.instead(name, value, args)
        if instead.note:
            return Fate([], "off, which is the default" if value is False else instead.note)
        if instead.pairs and not any(isinstance(v, ValueOf) for _, v in instead.pairs):
            return Fate(list(instead.pairs), gone=instead.gone)
        if flag is not None and (flag.inert or flag.refused):
            return Fate([], f"without effect in SGLang {catalog.version}")
    return Fate([(flag.name if flag else dashed(name), value)])


def one_line(value: Any) -> tuple[Any, str]:
    """The value as a flag or variable can have it, or the reason why it can't."""
    if isinstance(value, (list, tuple)):
        parts = [one_line(v) for v in value]
        return [v for v, _ in parts], next((r for _, r in parts if r), "")
    if isinstance(value, (int, float)) and not abs(value) < 2**63:
        return value, "the number is too large"
    if not isinstance(value, str):
        return value, ""
    if found := _FILLED_IN.search(value):
        return value, f"it holds {found[0]}, which sgl-launch does not fill in"
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        try:
            return json.dumps(json.loads(value)), ""
        except ValueError:
            if not any(ord(c) < 32 or ord(c) == 127 for c in value.strip()):
                return value.strip(), ""
            return value, "it has more than one line"
    return value, ""


def renamed_comments(comments: Sequence[Comment], catalog: Catalog) -> tuple[Comment, ...]:
    """Comments; a flag that is commented out gets today's name too."""
    out: list[Comment] = []
    for c in comments:
        match = _COMMENTED.fullmatch(c.text)
        if not match or usual_name(match[1]) not in usual_names():
            out.append(c)
            continue
        raw = match[2].rstrip()
        pairs = today(match[1], _guess(raw), catalog, {}).pairs
        texts = [f"{n}: {raw if v == _guess(raw) else scalar(v)}" for n, v in pairs]
        out += [Comment("# " + t, c.line) for t in texts] or [c]
    return tuple(out)


def _guess(raw: str) -> Any:
    try:
        return yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError, RecursionError):
        return raw
