"""A run's plan.json, read back into types (docs/plan.md).

Standard library only: every command that looks at a run starts with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

from launcher.base.errors import WorkError
from launcher.run.settings import Settings

SCHEMA = 1
# a number, or `P+n`: n above the base of the job's block
Port = int | str
_PORT = re.compile(r"P\+\d{1,5}")
_T = TypeVar("_T")


@dataclass(frozen=True)
class PlannedRank:
    """One process slot of a group: an index into the job's nodes, and positions among the job's GPUs there."""

    rank: int
    node: int
    gpus: tuple[int, ...]


@dataclass(frozen=True)
class PlannedGroup:
    """A worker group. `nodes` in rank order, the first is its head; `ports`, `argv` and `env` are rank 0's; `gpus` is
    the number of GPUs of all its ranks."""

    name: str
    role: str
    index: int
    nodes: tuple[int, ...]
    ranks: tuple[PlannedRank, ...]
    gpus: int
    ports: dict[str, Port]
    argv: tuple[str, ...]
    env: dict[str, str]
    file: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedService:
    """NATS or etcd, where it is the job's own."""

    node: int
    port: Port
    argv: tuple[str, ...]
    env: dict[str, str]


@dataclass(frozen=True)
class PlannedReplica:
    """One of the frontends."""

    name: str
    node: int
    port: Port


@dataclass(frozen=True)
class PlannedFrontend:
    """Where clients go: `port` on `node`, which is the first replica's, or the balancer's before them (`balanced`).

    `argv` is the first replica's, empty where the first worker's rank 0 answers. There is at least one replica.
    """

    node: int
    port: Port
    balanced: bool
    replicas: tuple[PlannedReplica, ...]
    argv: tuple[str, ...]
    env: dict[str, str]


@dataclass(frozen=True)
class PlannedComponent:
    """Nodes of one kind: `nodes` of them from index `first` on, with their sbatch options."""

    roles: tuple[str, ...]
    first: int
    nodes: int
    gpus_per_node: int
    slurm: dict[str, Any]


@dataclass(frozen=True)
class PlannedPorts:
    """`base` is a number or `auto`; automatic blocks of `block` ports lie between `first` and `last`."""

    base: Port
    block: int
    first: int
    last: int


@dataclass(frozen=True)
class Planned:
    """plan.json. `config` is the whole config as it was written there; `settings` are the values of it that readers
    of a run use, typed. `components` is empty where all nodes are of one kind."""

    name: str
    engine: str
    cluster: str
    nodes: int
    spare_nodes: int
    gpus_per_node: int
    components: tuple[PlannedComponent, ...]
    model_path: str
    served_name: str
    ports: PlannedPorts
    groups: tuple[PlannedGroup, ...]
    services: dict[str, PlannedService]
    frontend: PlannedFrontend
    health: str | None
    config: dict[str, Any]
    settings: Settings

    @property
    def local(self) -> bool:
        return self.cluster == "local"

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that have groups, in the plan's order."""
        return tuple(dict.fromkeys(g.role for g in self.groups))

    @property
    def gpus(self) -> int:
        """GPUs of all groups."""
        return sum(g.gpus for g in self.groups)

    def group(self, name: str) -> PlannedGroup | None:
        return next((g for g in self.groups if g.name == name), None)

    def first_of(self, role: str) -> PlannedGroup:
        """The first group of a role that is in `roles`."""
        return next(g for g in self.groups if g.role == role)

    def component_of(self, node: int) -> PlannedComponent | None:
        """The component that a node belongs to; None where all nodes are of one kind."""
        return next((c for c in reversed(self.components) if c.first <= node), None)

    @classmethod
    def read(cls, mapping: Any, where: str = "plan.json", made_by: str = "") -> Planned:
        """Raises WorkError, in one sentence, for a plan of another schema and for what is no plan at all.

        `made_by` is the version of sgl-launch that made the run, where that is known.
        """
        try:
            plan = _Object(mapping, "")
            _check_schema(plan, made_by)
            config = plan.object("config", optional=False)
            return cls(
                name=plan.text("name"),
                engine=plan.text("engine"),
                cluster=plan.text("cluster"),
                nodes=plan.number("nodes"),
                spare_nodes=plan.number("spare_nodes", 0),
                gpus_per_node=plan.number("gpus_per_node"),
                components=tuple(_component(c) for c in plan.objects("components")),
                model_path=plan.object("model").text("path"),
                served_name=plan.object("model").text("served_name"),
                ports=_ports(plan.object("ports")),
                groups=tuple(_group(g) for g in plan.objects("groups", optional=False)),
                services={name: _service(s) for name, s in plan.object("services").children()},
                frontend=_frontend(plan.object("frontend", optional=False)),
                health=plan.text_or_none("health"),
                config=config.values,
                settings=Settings.of(config.values),
            )
        except ValueError as e:
            raise WorkError(f"{where}: {e}") from None


class _NoPlan(ValueError):
    pass


def _check_schema(plan: _Object, made_by: str) -> None:
    schema = plan.values.get("schema")
    if schema == SCHEMA and not isinstance(schema, bool):
        return
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise _NoPlan("this is not a plan of sgl-launch: it has no schema number")
    from launcher import __version__

    by = f"sgl-launch {made_by}" if made_by else "another version of sgl-launch"
    raise _NoPlan(
        f"this run was made by {by} with plan schema {schema}; sgl-launch {__version__} reads schema {SCHEMA}: "
        "use the version that made the run"
    )


@dataclass(frozen=True)
class _Object:
    """A JSON object and where it is in the plan, read key by key. Raises _NoPlan for a value of another type."""

    values: Any
    path: str

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict):
            raise _NoPlan(f"this is not a plan of sgl-launch: {self.path or 'the whole'} is not an object")

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _wrong(self, key: str, kind: str) -> _NoPlan:
        state = f"is not {kind}" if key in self.values else "is missing"
        return _NoPlan(f"this is not a plan of sgl-launch: {self._at(key)} {state}")

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def text_or_none(self, key: str) -> str | None:
        return None if self.values.get(key) is None else self.text(key)

    def number(self, key: str, default: int | None = None) -> int:
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, "a whole number")
        return value

    def port(self, key: str, word: str = "") -> Port:
        value = self.values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if not isinstance(value, str) or not (value == word or _PORT.fullmatch(value)):
            raise self._wrong(key, "a port")
        return value

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def _all(self, key: str, kind: type[_T]) -> tuple[_T, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, kind) and not isinstance(v, bool) for v in value):
            raise self._wrong(key, "a list of " + ("texts" if kind is str else "whole numbers"))
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        return self._all(key, str)

    def numbers(self, key: str) -> tuple[int, ...]:
        return self._all(key, int)

    def mapping(self, key: str) -> dict[str, str]:
        value = self.values.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise self._wrong(key, "an object of texts")
        return value

    def object(self, key: str, optional: bool = True) -> _Object:
        if not optional and key not in self.values:
            raise self._wrong(key, "an object")
        return _Object(self.values.get(key, {}), self._at(key))

    def objects(self, key: str, optional: bool = True) -> list[_Object]:
        value = self.values.get(key, [] if optional else None)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return [_Object(v, f"{self._at(key)}[{n}]") for n, v in enumerate(value)]

    def children(self) -> list[tuple[str, _Object]]:
        return [(key, _Object(value, self._at(key))) for key, value in self.values.items()]


def _component(c: _Object) -> PlannedComponent:
    return PlannedComponent(
        c.texts("roles"), c.number("first"), c.number("nodes"), c.number("gpus_per_node"), c.object("slurm").values
    )


def _ports(p: _Object) -> PlannedPorts:
    return PlannedPorts(p.port("base", "auto"), p.number("block"), p.number("first"), p.number("last"))


def _ports_of(p: _Object) -> dict[str, Port]:
    return {name: p.port(name) for name in p.values}


def _group(g: _Object) -> PlannedGroup:
    ranks = tuple(PlannedRank(r.number("rank"), r.number("node"), r.numbers("gpus")) for r in g.objects("ranks"))
    nodes = g.numbers("nodes")
    if not nodes or not ranks:
        raise g._wrong("ranks" if nodes else "nodes", "a list of at least one")
    return PlannedGroup(
        name=g.text("name"),
        role=g.text("role"),
        index=g.number("index"),
        nodes=nodes,
        ranks=ranks,
        gpus=g.number("gpus"),
        ports=_ports_of(g.object("ports")),
        argv=g.texts("argv"),
        env=g.mapping("env"),
        file=g.texts("file"),
    )


def _service(s: _Object) -> PlannedService:
    return PlannedService(s.number("node"), s.port("port"), s.texts("argv"), s.mapping("env"))


def _frontend(f: _Object) -> PlannedFrontend:
    node, port = f.number("node"), f.port("port")
    replicas = tuple(PlannedReplica(r.text("name"), r.number("node"), r.port("port")) for r in f.objects("replicas"))
    return PlannedFrontend(
        node=node,
        port=port,
        balanced=f.flag("balanced"),
        replicas=replicas or (PlannedReplica("frontend", node, port),),
        argv=f.texts("argv"),
        env=f.mapping("env"),
    )
