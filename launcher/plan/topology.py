"""How many GPUs and nodes a worker takes, from SGLang's parallelism flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.base.counting import counted
from launcher.base.errors import InputError
from launcher.config import Source
from launcher.config.schema import Role

MAX_NODES = 4096  # of a role; beyond any cluster there is, and quick to plan

# SGLang's other spellings of the flags that decide the layout (server_args.py, add_cli_args)
ALIASES = {
    "tp-size": ("tp", "tensor-parallel-size"),
    "dp-size": ("dp", "data-parallel-size"),
    "pp-size": ("pp", "pipeline-parallel-size"),
    "ep-size": ("ep", "expert-parallel-size"),
}


@dataclass(frozen=True)
class Topology:
    """Shape of every worker of a role: `nodes` ranks of `gpus_per_rank` GPUs each."""

    workers: int
    nodes: int
    gpus_per_rank: int


def flag(args: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """A flag's value by its canonical name, under whichever spelling it was given."""
    for spelling in (name, *ALIASES.get(name, ())):
        if spelling in args:
            return args[spelling]
    return default


def spelling(args: Mapping[str, Any], name: str) -> str:
    return next((s for s in (name, *ALIASES.get(name, ())) if s in args), name)


def topology(name: str, role: Role, gpus_per_node: int, source: Source) -> Topology:
    """GPUs of a worker = tp-size x pp-size (x dp-size without DP attention, where each replica
    has a tp group of its own; with DP attention the replicas share it).

    Raises InputError when a size is not a positive number or the GPUs do not fill whole nodes.
    """
    problems = []
    for flag_name, others in ALIASES.items():
        given = [s for s in (flag_name, *others) if s in role.args]
        if len(given) > 1:
            message = f"another name of {given[0]}, which is given too; keep one"
            problems.append(source.problem(message, name, "args", given[1]))
    size = {}
    for flag_name in ("tp-size", "pp-size", "dp-size", "attn-dp-size"):
        value = flag(role.args, flag_name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            at = spelling(role.args, flag_name)
            shown = f"{value!r}; remove the quotes" if isinstance(value, str) and value.isdecimal() else repr(value)
            problems.append(source.problem(f"must be a whole number above 0, not {shown}", name, "args", at))
            value = 1
        size[flag_name] = value
    tp, pp, dp = size["tp-size"], size["pp-size"], size["dp-size"]
    # SGLang 0.5.22 and later: attn-dp-size says both, and takes no GPUs of its own
    attention = role.args.get("enable-dp-attention") is True
    if attention and (dp > tp or tp % dp):
        problems.append(
            source.problem(
                f"with enable-dp-attention, dp-size ({dp}) must divide tp-size ({tp})",
                name,
                "args",
                spelling(role.args, "dp-size"),
            )
        )
    if tp % size["attn-dp-size"]:
        message = f"attn-dp-size ({size['attn-dp-size']}) must divide tp-size ({tp})"
        problems.append(source.problem(message, name, "args", "attn-dp-size"))
    gpus = tp * pp * (1 if attention else dp)
    at = spelling(role.args, "tp-size")
    if gpus > gpus_per_node and gpus % gpus_per_node:
        problems.append(
            source.problem(
                f"a {name} worker takes {counted(gpus, 'GPU')}, which do not fill nodes of {gpus_per_node}; "
                f"choose sizes whose product is a multiple of {gpus_per_node}, "
                f"or set {f'{name}.' if role.own_slurm else ''}slurm.gpus_per_node",
                name,
                "args",
                at,
            )
        )
    if gpus > gpus_per_node and not attention and dp > 1:
        problems.append(
            source.problem(
                "dp-size without enable-dp-attention makes replicas on one node only; raise `workers` instead",
                name,
                "args",
                spelling(role.args, "dp-size"),
            )
        )
    nodes = max(1, gpus // gpus_per_node)
    if nodes * role.workers > MAX_NODES:
        message = f"takes {nodes * role.workers} nodes of {gpus_per_node} GPUs; at most {MAX_NODES} can be planned"
        problems.append(source.problem(message, name, "args", at))
    if problems:
        raise InputError(*problems)
    return Topology(role.workers, nodes, gpus // nodes)
