"""A plan for people, within 80 columns: the allocation, then who runs where, equal groups as one, then the commands."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from launcher.base.counting import counted
from launcher.base.words import flag_lines
from launcher.run.jsonread import Port
from launcher.run.planned import Planned, PlannedComponent, PlannedGroup

WIDTH = 80
_KEPT = "${CACHES}"  # where what compilers make is kept
_ALONE = 3  # so many equal groups of a role are shown one by one


def plan_text(plan: Planned, commands: bool = True) -> str:
    """All of it, or without the commands of each role's first worker."""
    lines = [f"{plan.name}: {plan.served_name}, engine {plan.engine} ({plan.cluster})", ""]
    for name, text in _allocation(plan):
        lines += textwrap.wrap(
            text, WIDTH, initial_indent=f"{name:<10}", subsequent_indent=" " * 10, break_long_words=False,
            break_on_hyphens=False,
        )  # fmt: skip
    lines += ["", f"{'group':<14}{'rank':>5} {'node':>7}  {'GPUs':<10}ports"]
    for role in plan.roles:
        lines += _role([g for g in plan.groups if g.role == role])
    lines += [f"{name:<14}{'':>5} {node:>7}  {'':<10}port={port}" for name, node, port in _services(plan)]
    for role in plan.roles if commands else ():
        group = plan.first_of(role)
        shown = {k: v for k, v in group.env.items() if not v.startswith(_KEPT)}  # see `kernels` below
        words = [f"{k}={shlex.quote(v)}" for k, v in shown.items()] + flag_lines(group.argv)
        lines += ["", f"{group.name}, rank 0:", *_filled(words)]
    return "\n".join(lines)


def _allocation(plan: Planned) -> Iterator[tuple[str, str]]:
    """What is asked for: (name, text) of each line."""
    config, slurm = plan.config, plan.config.get("slurm") or {}
    spares = int(config.get("spare_nodes") or 0)
    spare = f" and {counted(spares, 'spare one')}" if spares else ""
    each = "" if plan.components else f" of {counted(plan.gpus_per_node, 'GPU')}{' each' if plan.nodes > 1 else ''}"
    yield "nodes", f"{counted(plan.nodes, 'node')}{each}{spare}, {counted(plan.gpus, 'GPU')} in use"
    for component in plan.components:
        yield "", _component(component)
    if not plan.local:
        own = ("gpus_per_node", "gpu_request", "gpu_type", "partition")
        options = [f"{k} {v}" if v is not True else k for k, v in slurm.items() if k not in own and _said(v)]
        where = slurm.get("partition") or ("by role" if plan.components else "the cluster's default")
        yield "slurm", ", ".join([f"partition {where}", *options])
    yield "model", str(config["model"]["path"])
    container = config.get("container") or {}
    if container.get("runtime", "none") != "none":
        yield "image", f"{container.get('image')} ({container['runtime']})"
        yield "mounts", ", ".join(container.get("mounts") or ["none"])
    yield "stages", ", ".join(_stages(plan))
    yield "sweep", _sweep(config.get("warmup", {}).get("requests") or {})
    yield "runs", str(config.get("runs", "runs"))


def _said(value: Any) -> bool:
    return value is not None and value is not False and value != []


def _stages(plan: Planned) -> Iterator[str]:
    """What the job goes through, in order."""
    config, warmup = plan.config, plan.config.get("warmup", {})
    yield "nodes"
    if config.get("preflight"):
        yield "preflight"
    if (warmup.get("kernels") or {}).get("cache_dir") or any(v.startswith(_KEPT) for v in plan.groups[0].env.values()):
        yield "kernels"
    if plan.services:
        yield from ("keys", "services") if plan.settings.secured else ("services",)
    yield from ("workers", "frontend", "ready")
    if (warmup.get("requests") or {}).get("enabled", True):
        yield "warm"
    yield "serve"


def _sweep(requests: dict[str, Any]) -> str:
    if not requests.get("enabled", True):
        return "none (warmup.requests.enabled: false)"

    limits = "as the workers' limits allow"
    prompts, at_once = ((", ".join(map(str, requests.get(k) or []))) for k in ("prompt_tokens", "concurrency"))
    tokens = f"prompts of {prompts} tokens" if prompts else f"prompt lengths {limits}"
    return f"{tokens}, requests at once {at_once or limits}; at most {requests.get('timeout', 1800):g} s"


def _component(component: PlannedComponent) -> str:
    """Which nodes are of which kind."""
    nodes, slurm = range(component.first, component.first + component.nodes), component.slurm
    where = "".join(f", {key} {slurm[key]}" for key in ("partition", "constraint") if slurm.get(key))
    return f"{component.roles[0]}: nodes {span(nodes)}, {component.gpus_per_node} GPUs each{where}"


def _role(groups: Sequence[PlannedGroup]) -> Iterator[str]:
    """The rows of a role's groups; of more than _ALONE equal ones the first, and a line for the others."""
    alone = groups if len(groups) <= _ALONE else [g for g in groups if _shape(g) != _shape(groups[0])]
    if alone is not groups:
        first, others = groups[0], [g for g in groups[1:] if _shape(g) == _shape(groups[0])]
        yield from _rows(first)
        nodes = sorted({node for g in others for node in g.nodes})
        name = others[0].name if len(others) == 1 else f"{others[0].name} to {others[-1].name}"
        text = f"{name}: {counted(len(others), 'group')} like {first.name}, on nodes {span(nodes)}"
        yield from textwrap.wrap(text, WIDTH, subsequent_indent="  ")
    for group in alone:
        yield from _rows(group)


def _shape(group: PlannedGroup) -> tuple[int, int]:
    return len(group.ranks), group.gpus


def _rows(group: PlannedGroup) -> Iterator[str]:
    """A row for each run of ranks that have the same GPUs; the head node's ports beside the first."""
    runs: list[list[int]] = []
    for index, rank in enumerate(group.ranks):
        same = runs and group.ranks[runs[-1][0]].gpus == rank.gpus and rank.node == group.ranks[runs[-1][-1]].node + 1
        if same:
            runs[-1].append(index)
        else:
            runs.append([index])
    for number, run in enumerate(runs):
        ranks = [group.ranks[i] for i in run]
        head = f"{group.name if not number else '':<14}{span([r.rank for r in ranks]):>5}"
        head += f" {span([r.node for r in ranks]):>7}  {span(ranks[0].gpus):<10}"
        ports = "" if number else " ".join(f"{k}={v}" for k, v in group.ports.items())
        lines = textwrap.wrap(ports, WIDTH - len(head)) or [""]
        yield (head + lines[0]).rstrip()
        yield from (" " * len(head) + line for line in lines[1:])


def _services(plan: Planned) -> Iterator[tuple[str, int, Port]]:
    """Name, node and port of NATS, etcd, the frontends and the front before them."""
    front = plan.frontend
    yield from ((name, service.node, service.port) for name, service in plan.services.items())
    yield from ((f.name, f.node, f.port) for f in front.replicas)
    if front.balanced:
        yield "front", front.node, front.port


def span(numbers: Sequence[int]) -> str:
    """[0,1,2,3,6] as 0-3,6."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def _filled(pieces: Sequence[str]) -> list[str]:
    """Lines of at most WIDTH columns, no piece broken."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 1 + len(piece) <= WIDTH:
            lines[-1] += " " + piece
        else:
            lines.append("  " + piece)
    return lines
