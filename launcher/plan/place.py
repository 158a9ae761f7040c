"""Where workers and frontends go: node indices, GPUs and ports. Pure."""

from __future__ import annotations

from dataclasses import replace

from launcher.base.counting import counted
from launcher.base.errors import InputError
from launcher.base.portnames import Offset
from launcher.config import Config, Source
from launcher.engines import Command
from launcher.plan.components import Component
from launcher.plan.model import Cluster, Front, Frontend, Group, Rank
from launcher.plan.ports import MOST_FRONTENDS, frontend_ports, gate_port, group_ports
from launcher.plan.topology import Topology


def place(
    config: Config, topologies: dict[str, Topology], cluster: Cluster
) -> tuple[tuple[Group, ...], tuple[Component, ...]]:
    """First fit in the order of the config: a worker smaller than a node shares one, with workers of its
    own component."""
    groups: list[Group] = []
    components: list[Component] = []
    node = gpus_before = 0
    slots: dict[int, int] = {}  # workers on each node so far
    apart, given = config.heterogeneous, config.roles
    for roles in [(role,) for role in given if given[role].workers] if apart else [tuple(given)]:
        part = Component(roles, node, 0, config.slurm_of(roles[0]).gpus_per_node, gpus_before)
        used = 0  # GPUs taken on `node`, the one being filled
        for role, index in ((r, n) for r in roles for n in range(topologies[r].workers)):
            shape = topologies[role]
            alone = not index and any(config.roles[r].nodes == "own" for r in roles)  # from another role's
            if (used and alone) or used + shape.gpus_per_rank > part.gpus_per_node or (shape.nodes > 1 and used):
                node, used = node + 1, 0
            nodes = range(node, node + shape.nodes)
            gpus = tuple(range(used, used + shape.gpus_per_rank))
            # local ranks share one machine: the GPUs of "node" n come after those of node n-1
            shift = part.first_gpu if cluster == "local" else lambda _: 0
            ranks = tuple(Rank(rank, at, tuple(shift(at) + g for g in gpus)) for rank, at in enumerate(nodes))
            slot = len(groups) if cluster == "local" else slots.get(node, 0)
            for at in nodes:
                slots[at] = slots.get(at, 0) + 1
            # the groups of this role that have their head on this node (local: on this machine) already
            turn = sum(g.role == role and (cluster == "local" or g.nodes[0] == node) for g in groups)
            ports = group_ports(config, role, slot, turn)
            groups.append(Group(f"{role}-{index}", role, index, slot, gpus, ranks, ports))
            used += shape.gpus_per_rank
            if shape.nodes > 1:
                node, used = node + shape.nodes, 0
        node += bool(used)
        gpus_before = part.first_gpu(node)
        components.append(replace(part, nodes=node - part.first))
    return tuple(groups), tuple(components)


def place_frontends(config: Config, source: Source, nodes: int, cluster: Cluster) -> tuple[Frontend, ...]:
    """One on each of the first nodes; on this machine side by side, with ports of their own."""
    count = config.frontend.replicas
    if config.frontend.port == "unix" and cluster != "local":
        message = "a unix socket is on one machine; inside an allocation of one node, submit with --cluster local"
        raise InputError(source.problem(message, "frontend", "port"))
    if config.frontend.port == "unix" and config.security.tls != "off":
        raise InputError(source.problem("nobody can listen to a unix socket; leave this out", "security", "tls"))
    if count > nodes:
        message = f"at most one frontend runs on a node, and the workers take {counted(nodes, 'node')}"
        raise InputError(source.problem(message, "frontend", "replicas"))
    if cluster == "local" and count > MOST_FRONTENDS:
        raise InputError(source.problem(f"at most {MOST_FRONTENDS} on one machine", "frontend", "replicas"))
    several, local = count > 1, cluster == "local"
    return tuple(
        Frontend(f"frontend-{n}" if several else "frontend", n, frontend_ports(config, n if local else 0))
        for n in range(count)
    )


def place_fronts(config: Config, frontends: tuple[Frontend, ...], cluster: Cluster) -> tuple[Front, ...]:
    """The deployment's address on the first frontend's node; on several nodes, one on each."""
    if cluster == "local" or len(frontends) == 1:
        return (Front("front", frontends[0].node),)
    gate = gate_port(config)
    names = ["front", *(f"front-{f.node}" for f in frontends[1:])]
    return tuple(Front(name, f.node, gate) for name, f in zip(names, frontends, strict=True))


def named_ports(ports: dict[str, Offset], command: Command) -> dict[str, Offset]:
    """The ports that a command refers to; without a command, the one that clients use."""
    if not command.argv:
        return {"frontend": ports["frontend"]}
    return {name: port for name, port in ports.items() if f"{name.upper()}_PORT" in command.names}
