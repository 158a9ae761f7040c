"""The plan: everything that is known before a job has nodes. Pure; Config in, Plan out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from launcher.components import Component, component_problems, component_roles, components_json, number_of
from launcher.config import Config, Source
from launcher.containers import container_problems
from launcher.counting import counted
from launcher.engines import Command, Context, Worker, engine_for
from launcher.errors import InputError, Problem
from launcher.portcheck import check_ports
from launcher.ports import (
    FIRST,
    LAST,
    MOST_FRONTENDS,
    Offset,
    block_size,
    frontend_ports,
    group_ports,
    service_ports,
)
from launcher.slurm_options import slurm_problems
from launcher.topology import Topology, topology
from launcher.words import Word, shown

Cluster = Literal["slurm", "local"]


@dataclass(frozen=True)
class Rank:
    """One process slot of a worker group: `node` is an index into the allocation's node list.

    `gpus` are positions among the GPUs that the job has on that node.
    """

    rank: int
    node: int
    gpus: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """A worker group: one worker, its ranks and its ports on its head node (rank 0's).

    `gpus` are positions on each of its nodes; `slot` tells apart the workers of one node.
    """

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


@dataclass(frozen=True)
class RolePlan:
    """All workers of one role: the command that each of their ranks becomes."""

    name: str
    topology: Topology
    command: Command
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Frontend:
    """One of the processes that answer clients: its name, its node and its ports there."""

    name: str
    node: int
    ports: dict[str, Offset]


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
    balancer: Frontend | None
    health: str | None
    port_block: int
    only_kernels: bool = False

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(g for role in self.roles for g in role.groups)

    @property
    def head_node(self) -> int:
        """The head node of the first prefill worker: the frontend is there, and NATS and etcd
        unless the config puts them elsewhere."""
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
        return number_of(self.components, node)

    @property
    def named_groups(self) -> tuple[Group, ...]:
        """The groups whose addresses the frontend's command names (SGLang's router)."""
        used = self.frontend.names
        return tuple(g for g in self.groups if f"{Worker(g.name, g.role).prefix}_ADDR" in used)


def kernels_plan(plan: Plan) -> Plan:
    """The plan of a job that only builds the kernels, on one node with all its GPUs."""
    config = plan.config.model_copy(update={"name": f"{plan.config.name[:55]}-kernels"})
    return replace(
        plan,
        config=config,
        nodes=1,
        components=(replace(plan.components[0], nodes=1),),
        services_node=0,
        frontends=plan.frontends[:1],
        balancer=None,
        only_kernels=True,
    )


def make_plan(config: Config, source: Source, cluster: Cluster = "slurm") -> Plan:
    """Lay a config's workers out over nodes. Raises InputError with every mistake found."""
    problems = _role_problems(config, source)
    problems += slurm_problems(config, source)
    problems += component_problems(config, source) if cluster == "slurm" else []
    problems += container_problems(config, source, cluster)
    engine = engine_for(config)
    problems += engine.problems(config, source)
    topologies: dict[str, Topology] = {}
    for name, role in config.roles.items():
        try:
            topologies[name] = topology(name, role, config.slurm_of(name).gpus_per_node, source)
        except InputError as e:
            problems += e.problems
    if problems:
        raise InputError(*problems)

    groups, components = _place(config, topologies, cluster)
    nodes = components[-1].first + components[-1].nodes
    frontends = _place_frontends(config, source, nodes, cluster)
    last_slot = max(g.slot for g in groups)
    block = block_size(last_slot + 1)
    ports = service_ports(config)
    balancer = None
    if config.frontend.one_address:
        balancer = Frontend("balancer", frontends[0].node, {"frontend": ports["frontend"]})
    check_ports(config, source, groups, (balancer,) if balancer else frontends, block, cluster)
    context = Context(config=config, ports=ports, workers=tuple(Worker(g.name, g.role, len(g.gpus)) for g in groups))
    own_node = config.services.where == "own"
    if own_node:
        components = (*components[:-1], replace(components[-1], nodes=components[-1].nodes + 1))
    frontend = engine.frontend(context)
    roles = tuple(
        RolePlan(
            name=name,
            topology=topologies[name],
            command=engine.worker(context, name, role),
            groups=tuple(g for g in groups if g.role == name),
        )
        for name, role in config.roles.items()
    )
    return Plan(
        config=config,
        cluster=cluster,
        nodes=nodes + own_node,
        components=components,
        roles=roles,
        services=engine.services(context),
        service_ports=ports,
        services_node=nodes if own_node else groups[0].ranks[0].node,
        frontend=frontend,
        frontends=tuple(replace(f, ports=_named(f.ports, frontend)) for f in frontends),
        balancer=balancer,
        health=engine.health,
        port_block=block,
    )


def _role_problems(config: Config, source: Source) -> list[Problem]:
    roles = set(config.roles)
    if roles in ({"aggregated"}, {"prefill", "decode"}):
        return []
    if not roles:
        return [source.problem("give `prefill` and `decode`, or `aggregated`: there is no worker")]
    if "aggregated" in roles:
        return [
            source.problem(
                "an aggregated deployment has no prefill or decode; keep one of the two kinds",
                "aggregated",
            )
        ]
    (only,) = roles
    other = "decode" if only == "prefill" else "prefill"
    return [source.problem(f"there is no `{other}`; disaggregation needs both roles", only)]


def _place(
    config: Config, topologies: dict[str, Topology], cluster: Cluster
) -> tuple[tuple[Group, ...], tuple[Component, ...]]:
    """First fit in the order of the config: a worker smaller than a node shares one, with workers of its
    own component."""
    groups: list[Group] = []
    components: list[Component] = []
    node = gpus_before = 0
    slots: dict[int, int] = {}  # workers on each node so far
    for roles in component_roles(config):
        part = Component(roles, node, 0, config.slurm_of(roles[0]).gpus_per_node, gpus_before)
        used = 0  # GPUs taken on `node`, the one being filled
        for role, index in ((r, n) for r in roles for n in range(topologies[r].workers)):
            shape = topologies[role]
            if used + shape.gpus_per_rank > part.gpus_per_node or (shape.nodes > 1 and used):
                node, used = node + 1, 0
            nodes = range(node, node + shape.nodes)
            gpus = tuple(range(used, used + shape.gpus_per_rank))
            # local ranks share one machine: the GPUs of "node" n come after those of node n-1
            shift = part.first_gpu if cluster == "local" else lambda _: 0
            ranks = tuple(Rank(rank, at, tuple(shift(at) + g for g in gpus)) for rank, at in enumerate(nodes))
            slot = len(groups) if cluster == "local" else slots.get(node, 0)
            for at in nodes:
                slots[at] = slots.get(at, 0) + 1
            turn = _bootstrap_turn(groups, role, node, cluster)
            ports = group_ports(config, role, index, slot, turn)
            groups.append(Group(f"{role}-{index}", role, index, slot, gpus, ranks, ports))
            used += shape.gpus_per_rank
            if shape.nodes > 1:
                node, used = node + shape.nodes, 0
        node += bool(used)
        gpus_before = part.first_gpu(node)
        components.append(replace(part, nodes=node - part.first))
    return tuple(groups), tuple(components)


def _place_frontends(config: Config, source: Source, nodes: int, cluster: Cluster) -> tuple[Frontend, ...]:
    """One on each of the first nodes; on this machine side by side, with ports of their own."""
    count = config.frontend.replicas
    if count == 1 and config.frontend.one_address:
        raise InputError(source.problem("one frontend has one address; leave it out", "frontend", "one_address"))
    if count > nodes:
        message = f"one frontend a node: the workers take {counted(nodes, 'node')} (by slurm.gpus_per_node)"
        raise InputError(source.problem(message, "frontend", "replicas"))
    if cluster == "local" and count > MOST_FRONTENDS:
        raise InputError(source.problem(f"at most {MOST_FRONTENDS} on one machine", "frontend", "replicas"))
    return tuple(
        Frontend(
            f"frontend-{node}" if count > 1 else "frontend",
            node,
            frontend_ports(config, node if cluster == "local" else 0),
        )
        for node in range(count)
    )


def _named(ports: dict[str, Offset], command: Command) -> dict[str, Offset]:
    """The ports that a command refers to; without a command, the one that clients use."""
    if not command.argv:
        return {"frontend": ports["frontend"]}
    return {name: port for name, port in ports.items() if f"{name.upper()}_PORT" in command.names}


def _bootstrap_turn(groups: list[Group], role: str, node: int, cluster: Cluster) -> int:
    """How many groups of this role have their head on this node (local: on this machine) already."""
    return sum(1 for g in groups if g.role == role and (cluster == "local" or g.ranks[0].node == node))


def rank_values(plan: Plan, group: Group, rank: Rank) -> dict[str, str]:
    """The script's variables of one rank, as far as they are known before the job runs."""
    ports = {p.upper() + "_PORT": str(v) for p, v in {**plan.service_ports, **group.ports}.items()}
    return {
        **ports,
        "GROUP": group.name,
        "RANK": str(rank.rank),
        "NNODES": str(len(group.ranks)),
        "HEAD_ADDR": f"<node{group.ranks[0].node}>",
        "NODE_ADDR": f"<node{rank.node}>",
        "SERVICES_ADDR": f"<node{plan.services_node}>",
    }


def to_json(plan: Plan) -> dict[str, Any]:
    """The stable shape of `plan --json` and plan.json (docs/plan.md describes each key).

    Nodes are indices into the allocation. A port is a number, or `P+n`: n above the base that the
    job finds for its block. `<nodeN>` stands for the address of node N.
    """
    return {
        "schema": 1,
        "name": plan.config.name,
        "engine": plan.config.engine,
        "cluster": plan.cluster,
        "nodes": plan.nodes,
        "spare_nodes": plan.spare_nodes,
        "gpus_per_node": max(c.gpus_per_node for c in plan.components),
        **({"components": components_json(plan.components, plan.config)} if plan.heterogeneous else {}),
        "model": {"path": plan.config.model.path, "served_name": plan.config.served_name},
        "ports": {
            "base": plan.config.ports.base,
            "block": plan.port_block,
            "first": FIRST,
            "last": LAST,
        },
        "groups": [_group_json(plan, role, group) for role in plan.roles for group in role.groups],
        "services": {
            name: {
                "node": plan.services_node,
                "port": plan.service_ports[name].json(),
                **_command_json(command, _service_values(plan, plan.services_node)),
            }
            for name, command in plan.services.items()
        },
        "frontend": {
            "node": plan.head_node,
            "port": plan.service_ports["frontend"].json(),
            "balanced": plan.balancer is not None,
            "replicas": [{"name": f.name, "node": f.node, "port": f.ports["frontend"].json()} for f in plan.frontends],
            **_command_json(plan.frontend, _frontend_values(plan), plan.config.env),
        },
        "health": plan.health,
        "config": plan.config.model_dump(mode="json", exclude_none=True),
    }


def _service_values(plan: Plan, node: int) -> dict[str, str]:
    ports = {p.upper() + "_PORT": str(v) for p, v in plan.service_ports.items()}
    return {**ports, "NODE_ADDR": f"<node{node}>", "SERVICES_ADDR": f"<node{plan.services_node}>"}


def _frontend_values(plan: Plan) -> dict[str, str]:
    """The variables of the first frontend, among them its workers' addresses."""
    values = _service_values(plan, plan.frontends[0].node)
    values.update({f"{p.upper()}_PORT": str(v) for p, v in plan.frontends[0].ports.items()})
    for group in plan.named_groups:
        prefix = Worker(group.name, group.role).prefix
        values[f"{prefix}_ADDR"] = f"<node{group.ranks[0].node}>"
        values.update({f"{prefix}_{p.upper()}_PORT": str(v) for p, v in group.ports.items()})
    return values


def _group_json(plan: Plan, role: RolePlan, group: Group) -> dict[str, Any]:
    values = rank_values(plan, group, group.ranks[0])
    command = role.command
    if command.first and group == plan.groups[0]:
        command = replace(command, argv=command.first)
    return {
        "name": group.name,
        "role": group.role,
        "index": group.index,
        "nodes": list(group.nodes),
        "ranks": [{"rank": r.rank, "node": r.node, "gpus": list(r.gpus)} for r in group.ranks],
        "gpus": sum(len(r.gpus) for r in group.ranks),
        "ports": {name: port.json() for name, port in group.ports.items()},
        # rank 0's; the others differ in their --node-rank and own address alone
        **_command_json(command, values, plan.config.env),
        **({"file": [shown(line, values) for line in command.file.lines]} if command.file else {}),
    }


def _command_json(command: Command, values: dict[str, str], env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Words and environment as they will be; `env` is the config's own, which the command's goes over."""

    def text(word: Word) -> str:
        return shown(word, values)

    return {
        "argv": [text(w) for w in command.argv],
        "env": {k: text(w) for k, w in {**(env or {}), **command.env}.items()},
    }


__all__ = ["Cluster", "Group", "Plan", "Rank", "RolePlan", "make_plan", "to_json"]
