"""A run's plan.json, read back into types (docs/plan.md): what the readers of a run use of it.

Standard library only: every command that looks at a run starts with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from launcher import __version__
from launcher.base.errors import WorkError
from launcher.run.jsonread import Port, key, read

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
    nodes: tuple[int, ...]
    ranks: tuple[PlannedRank, ...]
    gpus: int
    ports: dict[str, Port]
    argv: tuple[str, ...]
    env: dict[str, str]

    def __post_init__(self) -> None:
        if not (self.nodes and self.ranks):
            raise ValueError(f"{self.name} has no ranks")


@dataclass(frozen=True)
class PlannedService:
    """NATS or etcd, where it is the job's own."""

    node: int
    port: Port


@dataclass(frozen=True)
class PlannedReplica:
    """One of the frontends."""

    name: str
    node: int
    port: Port


@dataclass(frozen=True)
class PlannedFrontend:
    """Where clients go: `port` on `node`, which is the first replica's, or the front's before them (`balanced`)."""

    node: int
    port: Port
    balanced: bool = False
    replicas: tuple[PlannedReplica, ...] = ()

    def __post_init__(self) -> None:
        if not self.replicas:  # in runs of earlier versions
            object.__setattr__(self, "replicas", (PlannedReplica("frontend", self.node, self.port),))


@dataclass(frozen=True)
class PlannedComponent:
    """Nodes of one kind: `nodes` of them from index `first` on, with their sbatch options."""

    roles: tuple[str, ...]
    first: int
    nodes: int
    gpus_per_node: int
    slurm: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The values of the config that readers of a run use. The defaults are for runs that were made before the key
    was; a test compares them with the schema's."""

    image: str | None = key("container.image", None)
    sglang_version: str | None = None
    services_where: str = key("services.where", "head")
    nats: str | None = key("services.nats", None)
    etcd: str | None = key("services.etcd", None)
    services_keys: str | None = key("services.keys", None)
    endpoint: str = key("security.endpoint", "key")
    security_services: str = key("security.services", "secured")
    nats_tls: bool = key("security.nats_tls", False)
    request_plane: str = key("security.request_plane", "open")
    requests_enabled: bool = key("warmup.requests.enabled", True)
    kernels_local_dir: str = key("warmup.kernels.local_dir", "/tmp/sgl-launch-kernels")

    @property
    def external_services(self) -> bool:
        """Whether NATS and etcd are not the job's own."""
        return self.services_where == "external"

    @property
    def secured(self) -> bool:
        """Whether the job makes keys for its services."""
        return self.security_services == "secured"


@dataclass(frozen=True)
class Planned:
    """plan.json. `config` is the whole config as it was written there. `components` is empty where all nodes are of
    one kind."""

    name: str
    engine: str
    cluster: str
    nodes: int
    gpus_per_node: int
    groups: tuple[PlannedGroup, ...]
    services: dict[str, PlannedService]
    frontend: PlannedFrontend
    config: dict[str, Any]
    served_name: str = field(metadata={"path": "model.served_name"})
    settings: Settings = field(metadata={"path": "config"})
    components: tuple[PlannedComponent, ...] = ()
    health: str | None = None

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
        """Raises WorkError, in one sentence, for a plan of another schema and for what is no plan at all. `made_by` is
        the version of sgl-launch that made the run, where that is known."""
        schema = mapping.get("schema") if isinstance(mapping, dict) else SCHEMA
        if type(schema) is int and schema != SCHEMA:
            by = f"sgl-launch {made_by}" if made_by else "another version of sgl-launch"
            raise WorkError(
                f"{where}: this run was made by {by} with plan schema {schema}; sgl-launch {__version__} reads "
                f"schema {SCHEMA}: use the version that made the run"
            )
        try:
            if type(schema) is not int:
                raise ValueError("it has no schema number")
            found: Planned = read(cls, mapping)
        except ValueError as e:
            raise WorkError(f"{where}: this is not a plan of sgl-launch: {e}") from None
        return found
