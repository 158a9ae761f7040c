"""What a plan is: who runs where, with what, before a job has nodes. Frozen data, no effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from launcher.base.portnames import Offset
from launcher.config import Config
from launcher.engines import Command, Worker
from launcher.plan.components import Component
from launcher.plan.topology import Topology

Cluster = Literal["slurm", "local"]


@dataclass(frozen=True)
class Rank:
    """One process slot of a worker group: `node` is an index into the allocation's node list, `gpus` are positions
    among the GPUs that the job has on that node."""

    rank: int
    node: int
    gpus: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """A worker group: one worker, its ranks and its ports on its head node (rank 0's). `gpus` are positions on each of
    its nodes; `slot` tells apart the workers of one node."""

    name: str
    role: str
    index: int
    slot: int
    gpus: tuple[int, ...]
    ranks: tuple[Rank, ...]
    ports: dict[str, Offset]

    @property
    def nodes(self) -> tuple[int, ...]:
        return tuple(r.node for r in self.ranks)

    @property
    def worker(self) -> Worker:
        return Worker(self.name, self.role, len(self.gpus))


@dataclass(frozen=True)
class RolePlan:
    """All workers of one role: the command that each of their ranks becomes."""

    name: str
    topology: Topology
    command: Command
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Frontend:
    """One of the processes that answer requests: its name, its node and its ports there."""

    name: str
    node: int
    ports: dict[str, Offset]


@dataclass(frozen=True)
class Front:
    """One of the processes between clients and frontends. The first has the deployment's one address; where frontends
    are on several nodes each node has one, and `gate` is the port by which the first reaches that node's frontend."""

    name: str
    node: int
    gate: Offset | None = None


@dataclass(frozen=True)
class Plan:
    """Who runs where, with what. `config` holds what needs no further thought."""

    config: Config
    cluster: Cluster
    nodes: int
    components: tuple[Component, ...]
    roles: tuple[RolePlan, ...]
    services: dict[str, Command]
    service_ports: dict[str, Offset]
    services_node: int
    frontend: Command
    frontends: tuple[Frontend, ...]
    fronts: tuple[Front, ...]
    health: str | None
    port_block: int
    only_kernels: bool = False

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(g for role in self.roles for g in role.groups)

    @property
    def head_node(self) -> int:
        """The head node of the first worker: the frontend is there, and NATS and etcd unless they are elsewhere."""
        return self.groups[0].ranks[0].node

    @property
    def spare_nodes(self) -> int:
        """Nodes that the allocation has beyond `nodes`; they come after them."""
        return self.config.spare_nodes if self.cluster == "slurm" and not self.only_kernels else 0

    @property
    def heterogeneous(self) -> bool:
        """Whether the job has nodes of several kinds."""
        return len(self.components) > 1

    def component_of(self, node: int) -> int:
        """Which component a node belongs to."""
        return max(n for n, component in enumerate(self.components) if component.first <= node)

    @property
    def named_groups(self) -> tuple[Group, ...]:
        """The groups whose addresses the frontend's command names (SGLang's router)."""
        used = self.frontend.names
        return tuple(g for g in self.groups if f"{g.worker.prefix}_ADDR" in used)
