"""How many GPUs and nodes a worker takes, from SGLang's parallelism flags."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.base.counting import counted
from launcher.base.errors import InputError
from launcher.catalog.given import Flags
from launcher.config import Source
from launcher.config.schema import Role

MAX_NODES = 4096  # of a role; beyond any cluster there is, and quick to plan

@dataclass(frozen=True)
class Topology:
    """Shape of every worker of a role: `nodes` ranks of `gpus_per_rank` GPUs each."""

    workers: int
    nodes: int
    gpus_per_rank: int


def topology(name: str, role: Role, gpus_per_node: int, source: Source) -> Topology:
    """GPUs of a worker = tp-size x pp-size (x dp-size without DP attention, where each replica
    has a tp group of its own; with DP attention the replicas share it).

    Raises InputError when a size is not a positive number or the GPUs do not fill whole nodes.
    """
    flags = Flags(role.args)
    problems = []

    def wrong(message: str, key: str) -> None:
        problems.append(source.problem(message, name, "args", key))

    sizes = ("tp-size", "pp-size", "dp-size", "attn-dp-size")
    for flag, first, second in flags.doubles:
        if flag in (*sizes, "ep-size"):
            wrong(f"another name of {first}, which is given too; keep one", second)
    for flag in sizes:
        value = flags.get(flag, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            shown = f"{value!r}; remove the quotes" if isinstance(value, str) and value.isdecimal() else repr(value)
            wrong(f"must be a whole number above 0, not {shown}", flags.written(flag))
    tp, dp = flags.number("tp-size"), flags.number("dp-size")
    attention, groups = flags.on("enable-dp-attention"), flags.attention_groups
    if attention and (dp > tp or tp % dp):
        wrong(f"with enable-dp-attention, dp-size ({dp}) must divide tp-size ({tp})", flags.written("dp-size"))
    elif tp % groups:
        wrong(f"attn-dp-size ({groups}) must divide tp-size ({tp})", flags.written("attn-dp-size"))
    gpus = flags.gpus
    if gpus > gpus_per_node and gpus % gpus_per_node:
        wrong(
            f"a {name} worker takes {counted(gpus, 'GPU')}, which do not fill nodes of {gpus_per_node}; "
            f"choose sizes whose product is a multiple of {gpus_per_node}, "
            f"or set {f'{name}.' if role.own_slurm else ''}slurm.gpus_per_node",
            flags.written("tp-size"),
        )
    if gpus > gpus_per_node and not attention and dp > 1:
        wrong(
            "dp-size without enable-dp-attention makes replicas on one node only; raise `workers` instead",
            flags.written("dp-size"),
        )
    nodes = max(1, gpus // gpus_per_node)
    if nodes * role.workers > MAX_NODES:
        message = f"takes {nodes * role.workers} nodes of {gpus_per_node} GPUs; at most {MAX_NODES} can be planned"
        wrong(message, flags.written("tp-size"))
    if problems:
        raise InputError(*problems)
    return Topology(role.workers, nodes, gpus // nodes)
