"""The config that a conversion fills in, before it is text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from launcher.base.counting import counted
from launcher.base.errors import InputError, Problem
from launcher.catalog.given import Flags
from launcher.config.load import dotted
from launcher.config.names import not_to_be_set
from launcher.convert.flags import one_line
from launcher.convert.ledger import Ledger
from launcher.convert.tree import Comment, Item, Section, plain, spoken


@dataclass
class DraftRole:
    """The workers of one role: `items` are the keys of the config's mapping, `args` among them."""

    workers: Item
    args: Section
    env: Section = field(default_factory=Section)
    above: tuple[Comment, ...] = ()
    env_above: tuple[Comment, ...] = ()
    own_nodes: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of one worker by its sizes; 0 when a size is not a whole number above 0."""
        flags = Flags(plain(self.args))
        sizes = (flags.get(name, 1) for name in ("tp-size", "pp-size", "dp-size"))
        return 0 if any(not isinstance(s, int) or isinstance(s, bool) or s < 1 for s in sizes) else flags.gpus


@dataclass
class Draft:
    """One config. The keys of each mapping stand in the order in which they are written."""

    name: str
    model: list[Item] = field(default_factory=list)
    engine: str = "dynamo"
    container: list[Item] = field(default_factory=list)
    slurm: list[Item] = field(default_factory=list)
    ports: list[Item] = field(default_factory=list)
    env: Section = field(default_factory=Section)
    roles: dict[str, DraftRole] = field(default_factory=dict)
    mocker: list[Item] = field(default_factory=list)
    frontend: list[Item] = field(default_factory=list)
    services: list[Item] = field(default_factory=list)
    sglang_version: str = ""
    dynamo_version: str = ""
    timeouts: list[Item] = field(default_factory=list)
    gpus_per_node: int = 8
    gpus_comments: Item | None = None
    above: dict[str, tuple[Comment, ...]] = field(default_factory=dict)
    under: tuple[Comment, ...] = ()  # at the end

    def tree(self) -> Section:
        """The config as it is written; what is empty is left out."""
        gpus = entry("gpus_per_node", self.gpus_per_node, self.gpus_comments)
        parts: list[Item] = [Item("name", self.name), Item("engine", self.engine)]
        if self.sglang_version and self.engine != "mocker":
            parts.append(Item("sglang_version", self.sglang_version))
        if self.dynamo_version and self.engine == "dynamo":
            parts.append(Item("dynamo_version", self.dynamo_version))
        mappings: dict[str, Section] = {
            "model": Section(tuple(self.model)),
            "container": Section(tuple(self.container)),
            "slurm": Section((gpus, *self.slurm)),
            "ports": Section(tuple(self.ports)),
            "env": self.env,
            **{name: self._role(role) for name, role in self.roles.items()},
            "mocker": Section(tuple(self.mocker)),
            "frontend": Section(tuple(self.frontend)),
            "services": Section(tuple(self.services)),
            "timeouts": Section(tuple(self.timeouts)),
        }
        parts += [Item(key, value) for key, value in mappings.items() if value.items]
        roles = {name: role.above for name, role in self.roles.items()}
        parts = [replace(p, above=(*self.above.get(p.key, ()), *roles.get(p.key, ()))) for p in parts]
        parts[-1] = replace(parts[-1], under=self.under)
        return Section(tuple(parts))

    def _role(self, role: DraftRole) -> Section:
        items = [role.workers, *([Item("nodes", "own")] if role.own_nodes else [])]
        if role.args.items:
            args = _sized(role.args, role.gpus, self.gpus_per_node)
            items.append(Item("args", args))
        if role.env.items:
            items.append(Item("env", role.env, above=spoken(role.env_above)))
        return Section(tuple(items))


def _sized(args: Section, gpus: int, per_node: int) -> Section:
    """The flags, with what a worker takes beside its tp-size."""
    if gpus < 1 or (gpus > per_node and gpus % per_node):
        return args
    nodes = max(1, gpus // per_node)
    text = f"# {counted(gpus, 'GPU')}: {counted(nodes, 'node')}"
    if gpus < per_node:
        text = f"# {counted(gpus, 'GPU')} of a node's {per_node}"
    return replace(
        args,
        items=tuple(
            replace(i, beside=Comment(text, 0)) if i.key == "tp-size" and not i.beside else i for i in args.items
        ),
    )


def entry(key: str, value: Any, *sources: Item | None) -> Item:
    """A key of the config, with the comments of the items that it comes from."""
    items = [s for s in sources if s is not None]
    above = tuple(c for s in items for c in s.above)
    beside = [s.beside for s in items if s.beside]
    if len(beside) > 1:
        above, beside = (*above, *beside), []
    if len(items) > 1:
        above = tuple(sorted((c for c in above if c.text), key=lambda c: c.line))
    under = tuple(c for s in items for c in s.under)
    return Item(key, value, above=above, beside=beside[0] if beside else None, under=under)


def name_for(text: Any, ledger: Ledger, item: Item | None = None) -> str:
    """A name that the config allows, as near to the text as it can be."""
    given = str(text) if text is not None else ""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", given).strip("-._")[:63].rstrip("-._")
    if not name:
        name = "converted"
    if name != given:
        ledger.warn(f"{given!r} can't be a name here; it became {name}", item)
    return name


def section_of(item: Item | None) -> Section:
    """The mapping of an item; empty when there is none. Raises InputError for anything else."""
    if item is None or item.value is None:
        return Section()
    if not isinstance(item.value, Section):
        raise InputError(problem("must be a mapping (key: value)", item))
    return item.value


def whole(item: Item | None, least: int = 0, most: int = 4096) -> int | None:
    """A whole number, also one that was quoted; None when the item is not there.

    Raises InputError for anything else.
    """
    if item is None or item.value is None:
        return None
    value = item.value
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}\s*", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        shown = repr(plain(item.value))[:60]
        message = f"must be a whole number from {least} to {most}, not {shown}"
        raise InputError(problem(message, item))
    return value


def problem(message: str, item: Item) -> Problem:
    return Problem(message, item.place, dotted(item.path))


def env_section(section: Section, ledger: Ledger) -> Section:
    """Variables as the config takes them; the others are dropped."""
    kept: list[Item] = []
    for item in section.items:
        value, reason = one_line(item.value)
        if why := not_to_be_set(item.key):
            reason = why
        elif item.value is None:
            reason = "it has no value"
        elif item.key.startswith("SRTCTL_"):
            reason = "for srtctl itself"
        elif item.key in ("DYN_REQUEST_PLANE", "DYN_EVENT_PLANE"):
            reason = "set by the launcher: requests go over TCP, events over NATS"
        elif isinstance(item.value, (Section, list)):
            reason = "a variable holds one text"
        if reason:
            ledger.drop(item, reason)
            continue
        if isinstance(value, str) and re.search(r"\$\{?[A-Za-z_]", value):
            ledger.warn("kept as it is: sgl-launch fills in no variables", item)
        ledger.use(item)
        kept.append(replace(item, value=value))
    return Section(tuple(kept))
