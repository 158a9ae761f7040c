"""A worker's SGLang flags, under the names of one SGLang version."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from launcher.catalog import Catalog, dashed
from launcher.catalog.renames import CARRY, RENAMES
from launcher.config.yamltext import scalar
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Comment, Item, Section, plain
from launcher.engines.base import OWNED_FLAGS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_RENAMES = {rename.old: rename for rename in RENAMES}
_COMMENTED = re.compile(r"#+\s*(?:--)?([A-Za-z][\w-]*)\s*:\s*(\S.*)")
_FILLED_IN = re.compile(
    r"\{(?:job_id|run_name|head_node_ip|log_dir|model_path|container_image|gpus_per_node|node|"
    r"node_id|artifact_dir|index|host|port|nginx_url|frontend_url)\}|HEAD_\w*NODE_IP"
)


@dataclass(frozen=True)
class Flags:
    """A role's flags: those for `args`, and those that the launcher gives out, by name."""

    args: Section
    owned: dict[str, Item]

    def value(self, name: str) -> Any:
        """A flag of `args`, by its usual name."""
        item = self.args.get(name)
        return plain(item.value) if item else None


def convert_flags(section: Section, catalog: Catalog, ledger: Ledger) -> Flags:
    """Rename what was renamed, list what is gone; the order and the comments stay.

    The items of `owned` are left for the caller to use or drop.
    """
    owned: dict[str, Item] = {}
    out: dict[str, Item] = {}
    waiting: tuple[Comment, ...] = ()  # comments of flags that went, for the next that stays or the last
    given = {name: _canonical(catalog, item.key) for name, item in _by_name(section).items()}
    for item in section.items:
        waiting += renamed_comments(item.above, catalog)
        last = renamed_comments(item.under, catalog)
        item = replace(item, above=(), under=())
        name = dashed(item.key)
        kept: list[tuple[str, Any]] = []
        if name in OWNED_FLAGS:
            owned[name] = item
        else:
            pairs = _fate(item, name, section, catalog, ledger)
            kept = _without_doubles(item, pairs, given, out, ledger)
        for number, (new, value) in enumerate(kept):
            ledger.use(item)
            above, beside = ((), None) if number else (waiting, item.beside)
            out[new] = replace(item, key=new, value=value, above=above, beside=beside)
        waiting = (() if kept else waiting) + last
    if out and waiting:
        new = next(reversed(out))
        out[new] = replace(out[new], under=waiting)
    return Flags(Section(tuple(out.values())), owned)


def _by_name(section: Section) -> dict[str, Item]:
    return {dashed(item.key): item for item in section.items}


def _canonical(catalog: Catalog, key: str) -> str:
    return catalog.canonical(key) or dashed(key)


def _fate(item: Item, name: str, section: Section, catalog: Catalog, ledger: Ledger) -> list[tuple[str, Any]]:
    """What the flag is called now, with its values; nothing when it was dropped."""
    value = plain(item.value)
    if not _NAME.fullmatch(name):
        ledger.drop(item, "not the name of a flag")
        return []
    if value is None:
        ledger.drop(item, "it has no value")
        return []
    value, reason = one_line(value)
    if reason:
        ledger.drop(item, reason)
        return []
    if name == "enable-ep-moe" and value is True:  # ep-size was tp-size by it
        size = next((plain(i.value) for i in section.items if _canonical(catalog, i.key) == "tp-size"), 1)
        return [("ep-size", size)]
    pairs, reason = today(name, value, catalog)
    if reason:
        ledger.drop(item, reason)
    for new, _ in pairs:
        if new not in catalog:
            near = catalog.nearest(new, most=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            ledger.warn(f"kept, but SGLang {catalog.version} has no such flag{hint}", item)
    return pairs


def today(name: str, value: Any, catalog: Catalog) -> tuple[list[tuple[str, Any]], str]:
    """The flag under the catalogue's name for it, or the reason why there is none."""
    flag = catalog.flag(name)
    if flag is not None and flag.deprecated is None:
        return [(flag.name, value)], ""
    old = flag.name if flag is not None else name
    pairs: list[tuple[str, Any]] = [(old, value)]
    for _ in range(len(RENAMES)):
        successors = [_RENAMES.get(n) for n, _ in pairs]
        if successors == [None] * len(pairs) or all(_is_current(catalog, n) for n, _ in pairs):
            break
        if value is False:
            return [], "off, which is the default"
        following: list[tuple[str, Any]] = []
        for (n, v), rename in zip(pairs, successors, strict=True):
            if rename is None or _is_current(catalog, n):
                following.append((n, v))
                continue
            if not rename.becomes:
                return [], f"SGLang no longer has it. {rename.note}".rstrip()
            following += [(new, v if fixed is CARRY else fixed) for new, fixed in rename.becomes]
        pairs = following
    if all(n in catalog for n, _ in pairs):
        return pairs, ""
    if flag is not None and (flag.inert or flag.refused):
        return [], f"without effect in SGLang {catalog.version}"
    return [(old, value)], ""


def _is_current(catalog: Catalog, name: str) -> bool:
    flag = catalog.flag(name)
    return flag is not None and flag.deprecated is None


def _without_doubles(
    item: Item,
    pairs: Sequence[tuple[str, Any]],
    given: dict[str, str],
    out: dict[str, Item],
    ledger: Ledger,
) -> list[tuple[str, Any]]:
    """The pairs that no other flag of the role sets: one that is written as such comes first."""
    kept = []
    own = dashed(item.key)
    for new, value in pairs:
        written = [n for n, canonical in given.items() if canonical == new and n != own]
        if new in out:
            if plain(out[new].value) != value:
                ledger.drop(item, f"{new} is set by {dotted_key(out[new])} already")
                continue
            ledger.use(item)
        elif written and given[own] != new:
            ledger.drop(item, f"{new} is given too, and counts")
        else:
            kept.append((new, value))
    return kept


def dotted_key(item: Item) -> str:
    return str(item.path[-1]) if item.path else item.key


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
        if not match or not _is_flag(match[1], catalog):
            out.append(c)
            continue
        raw = match[2].rstrip()
        pairs, _ = today(dashed(match[1]), _guess(raw), catalog)
        texts = [f"{n}: {raw if v == _guess(raw) else scalar(v)}" for n, v in pairs]
        out += [Comment("# " + t, c.line) for t in texts] or [c]
    return tuple(out)


def _is_flag(name: str, catalog: Catalog) -> bool:
    return dashed(name) in catalog or dashed(name) in _RENAMES


def _guess(raw: str) -> Any:
    try:
        return yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError, RecursionError):
        return raw
