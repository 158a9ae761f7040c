"""The components of the allocation: one, or one a role whose nodes are of another kind.

Slurm calls a job with several a heterogeneous job. Its nodes are counted component after component.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.base.errors import Problem
from launcher.config import Config, Source


@dataclass(frozen=True)
class Component:
    """Nodes of one kind, `nodes` of them from index `first` on, for the workers of `roles`. `gpus_before` are the GPUs
    of all nodes before them: on this machine, where every "node" is the same one, a node's GPUs come after those."""

    roles: tuple[str, ...]
    first: int
    nodes: int
    gpus_per_node: int
    gpus_before: int = 0

    def first_gpu(self, node: int) -> int:
        """Where the GPUs of one of its nodes begin, counted over all nodes."""
        return self.gpus_before + (node - self.first) * self.gpus_per_node


def component_problems(config: Config, source: Source) -> list[Problem]:
    """What a heterogeneous job of Slurm can't have."""
    if not config.heterogeneous or set(config.roles) != {"prefill", "decode"}:
        return []
    problems = []
    role = next(name for name, its in config.roles.items() if its.own_slurm)
    if config.spare_nodes:
        message = f"{role}.slurm makes the nodes of two kinds, and a spare one could stand in for one kind alone"
        problems.append(source.problem(f"{message}; leave one of the two out", "spare_nodes"))
    for key in ("workers", "services"):
        if getattr(config.on_failure, key) == "requeue":
            message = f"{role}.slurm makes it a heterogeneous job, for which Slurm can't leave out the node that failed"
            problems.append(source.problem(f"{message}; choose restart or stop", "on_failure", key))
    # Slurm hands the first component's account and QOS on to the second, and takes no empty ones
    first, second = config.roles
    for key in ("account", "qos"):
        if config.slurm_of(first).given.get(key) and not config.slurm_of(second).given.get(key):
            message = f"Slurm would take {first}'s {key} for {second}'s nodes as well; set {second}.slurm.{key} too"
            problems.append(source.problem(message, first, "slurm", key))
    return problems
