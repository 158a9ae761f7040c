"""A run's plan.json, read back into types (docs/plan.md).

Standard library only: every command that looks at a run starts with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from launcher.base.errors import WorkError
from launcher.run.jsonread import JsonObject, NotAPlan, Port
from launcher.run.settings import Settings

SCHEMA = 1


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
            plan = JsonObject(mapping, "")
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


def _check_schema(plan: JsonObject, made_by: str) -> None:
    schema = plan.values.get("schema")
    if schema == SCHEMA and not isinstance(schema, bool):
        return
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise NotAPlan("this is not a plan of sgl-launch: it has no schema number")
    from launcher import __version__

    by = f"sgl-launch {made_by}" if made_by else "another version of sgl-launch"
    raise NotAPlan(
        f"this run was made by {by} with plan schema {schema}; sgl-launch {__version__} reads schema {SCHEMA}: "
        "use the version that made the run"
    )


def _component(c: JsonObject) -> PlannedComponent:
    return PlannedComponent(
        c.texts("roles"), c.number("first"), c.number("nodes"), c.number("gpus_per_node"), c.object("slurm").values
    )


def _ports(p: JsonObject) -> PlannedPorts:
    return PlannedPorts(p.port("base", "auto"), p.number("block"), p.number("first"), p.number("last"))


def _ports_of(p: JsonObject) -> dict[str, Port]:
    return {name: p.port(name) for name in p.values}


def _group(g: JsonObject) -> PlannedGroup:
    ranks = tuple(PlannedRank(r.number("rank"), r.number("node"), r.numbers("gpus")) for r in g.objects("ranks"))
    nodes = g.numbers("nodes")
    if not nodes or not ranks:
        raise g.wrong("ranks" if nodes else "nodes", "a list of at least one")
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


def _service(s: JsonObject) -> PlannedService:
    return PlannedService(s.number("node"), s.port("port"), s.texts("argv"), s.mapping("env"))


def _frontend(f: JsonObject) -> PlannedFrontend:
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
