"""Files of several recipes: `base` with `override_*` and `zip_override_*` variants, and sweeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from launcher.base.errors import InputError, Place, Problem
from launcher.base.suggest import nearest
from launcher.convert.draft import problem, section_of
from launcher.convert.tree import Item, Section, leaves, plain, spoken

_ZIP, _ONE = "zip_override_", "override_"
_MOST = 1000


@dataclass(frozen=True)
class Variant:
    """One recipe of a file: its selector, the job's name, and which keys it replaced."""

    selector: str
    name: str
    recipe: Section
    replaced: tuple[Item, ...] = ()


def has_variants(root: Section) -> bool:
    return root.get("base") is not None


def variants(root: Section) -> list[Variant]:
    """Every variant, the base first. Raises InputError when one can't be made."""
    base_item = root.get("base")
    base = section_of(base_item)
    named = base.get("name")
    base_name = str(named.value) if named else "base"
    out = [Variant("base", base_name, base)]
    for item in root.items:
        if item.key.startswith(_ZIP):
            out += _zipped(item, base, base_name)
        elif item.key.startswith(_ONE):
            over = section_of(item)
            name = over.get("name")
            title = str(name.value) if name else f"{base_name}_{item.key.removeprefix(_ONE)}"
            out.append(_merged(item.key, title, base, over))
    return out


def choose(found: list[Variant], wanted: str | None, source: str) -> Variant:
    """The variant of that selector, or of its short forms. Raises InputError with the list."""
    if wanted is None and len(found) == 1:
        return found[0]
    listing = "\n".join(f"  {v.selector:<44} {v.name}" for v in found)
    if wanted is None:
        raise InputError(Problem(f"holds several recipes; choose one with --variant:\n{listing}", Place(source)))
    fitting = [v for v in found if wanted in _spellings(v)]
    exact = [v for v in fitting if v.selector == wanted]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    group = [v for v in found if re.sub(r"\[\d+\]$", "", v.selector) in _prefixed(wanted)]
    if len(group) > 1:
        message = f"{wanted} is {len(group)} recipes: {group[0].selector} to {group[-1].selector}"
        raise InputError(Problem(message, Place(f"--variant {wanted}")))
    if len(group) == 1:
        return group[0]
    what = "is more than one recipe" if fitting else "is not there"
    hint = nearest(wanted, [v.selector for v in found])
    raise InputError(Problem(f"{what}{hint}; the recipes of {source}:\n{listing}", Place(f"--variant {wanted}")))


def _spellings(variant: Variant) -> set[str]:
    selector = variant.selector
    short = selector.removeprefix("zip_").removeprefix("override_")
    flat = re.sub(r"\[(\d+)\]$", r"_\1", short)
    return {selector, short, flat, variant.name}


def _prefixed(wanted: str) -> set[str]:
    return {wanted, _ZIP + wanted, _ONE + wanted}


def _zipped(item: Item, base: Section, base_name: str) -> list[Variant]:
    over = section_of(item)
    lists = [leaf for leaf in leaves(over) if isinstance(leaf.value, list)]
    lengths = {len(leaf.value) for leaf in lists} - {1}
    if len(lengths) > 1 or 0 in lengths:
        odd = next(leaf for leaf in lists if len(leaf.value) not in (1, max(lengths)))
        raise InputError(problem(f"has {len(odd.value)} values where another list has {max(lengths)}", odd))
    count = max(lengths, default=1)
    if count > _MOST:
        raise InputError(problem(f"{count} recipes; at most {_MOST} are converted", item))
    names = over.get("name")
    suffix = item.key.removeprefix(_ZIP)
    out = []
    for index in range(count):
        part = _picked(over, index)
        given = part.get("name")
        title = f"{base_name}_{suffix}_{index}"
        if names is not None and isinstance(names.value, list) and given:
            title = str(given.value)
        selector = f"{item.key}[{index}]" if count > 1 else item.key
        out.append(_merged(selector, title, base, part))
    return out


def _picked(section: Section, index: int) -> Section:
    """The section with each list's value of that index; a list of one counts for all."""

    def pick(item: Item) -> Item:
        value = item.value
        if isinstance(value, Section):
            return replace(item, value=_picked(value, index))
        if isinstance(value, list):
            return replace(item, value=value[index] if len(value) > 1 else value[0])
        return item

    return replace(section, items=tuple(pick(i) for i in section.items))


def _merged(selector: str, name: str, base: Section, over: Section) -> Variant:
    replaced: list[Item] = []
    recipe = merge(base, over, replaced)
    return Variant(selector, name, recipe, tuple(replaced))


def merge(base: Section, over: Section, replaced: list[Item]) -> Section:
    """`over` on top of `base`: mappings merge, null deletes, anything else replaces."""
    items = {item.key: item for item in base.items}
    for item in over.items:
        old = items.get(item.key)
        if item.value is None:
            replaced.append(item)
            if old is not None:
                replaced.append(items.pop(item.key))
        elif old is not None and isinstance(old.value, Section) and isinstance(item.value, Section):
            value = merge(old.value, item.value, replaced)
            items[item.key] = replace(old, value=value, above=old.above + item.above)
        elif old is not None:
            replaced.append(old)
            items[item.key] = replace(
                item,
                above=spoken(item.above) or old.above,
                beside=item.beside or old.beside,
            )
        else:
            items[item.key] = item
    return Section(tuple(items.values()))


def first_of_sweep(recipe: Section) -> tuple[Section, dict[str, Any]]:
    """The recipe with every `{parameter}` of its `sweep` at its first value, and those values."""
    sweep = section_of(recipe.get("sweep"))
    parameters = recipe.get("sweep", "parameters")
    lists = section_of(parameters) if parameters else sweep
    first = {
        i.key: i.value[0]
        for i in lists.items
        if isinstance(i.value, list) and i.value and not isinstance(i.value[0], (list, dict))
    }
    if not first:
        return recipe, {}

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(v) for v in value]
        if not isinstance(value, str):
            return value
        for name, instead in first.items():
            if value == "{" + name + "}":
                return instead
            value = value.replace("{" + name + "}", str(plain(instead)))
        return value

    def walk(section: Section) -> Section:
        return replace(section, items=tuple(_put(i) for i in section.items))

    def _put(item: Item) -> Item:
        if item.path and item.path[-1] == "sweep":
            return item
        if isinstance(item.value, Section):
            return replace(item, value=walk(item.value))
        return replace(item, value=put(item.value))

    return walk(recipe), first


def selected(root: Section, variant: Variant) -> Iterator[Item]:
    """The file's top-level items that are not part of the variant."""
    mine = {"base", re.sub(r"\[\d+\]$", "", variant.selector)}
    return (item for item in root.items if item.key not in mine)
