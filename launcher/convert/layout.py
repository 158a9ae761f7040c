"""Whether the plan gives every worker the nodes that its source meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from launcher.base.errors import InputError, Problem
from launcher.config.load import Source, validate
from launcher.convert.draft import Draft
from launcher.convert.tree import plain
from launcher.plan.make import make_plan
from launcher.plan.model import Plan


@dataclass(frozen=True)
class Shape:
    """What a source says of a role: its workers, the nodes and GPUs of each."""

    role: str
    workers: int
    nodes: int  # of one worker
    gpus: int  # of one worker
    fresh: bool = True  # its first worker starts on a node of its own
    spread: bool = False  # every worker does


Layout = dict[str, tuple[int, ...]]  # worker -> its nodes


def meant(shapes: Sequence[Shape], gpus_per_node: int) -> Layout:
    """Where the source's own launcher puts the workers, one after the other."""
    layout: Layout = {}
    node, used = 0, 0
    for shape in shapes:
        for index in range(shape.workers):
            whole = shape.nodes > 1 or shape.gpus >= gpus_per_node
            alone = whole or shape.spread or (shape.fresh and not index)
            if used and (alone or used + shape.gpus > gpus_per_node):
                node, used = node + 1, 0
            layout[f"{shape.role}-{index}"] = tuple(range(node, node + shape.nodes))
            if whole:
                node += shape.nodes
            else:
                used += shape.gpus
    return layout


def fit(draft: Draft, shapes: Sequence[Shape]) -> tuple[Draft, list[str]]:
    """The draft with the gpus_per_node, or the nodes of its own for a role, under which the plan is what the source
    meant, if there is one, and a line for each difference that is left.

    A worker that uses half of a node's GPUs but has the node to itself needs it.
    """
    wanted = meant(shapes, draft.gpus_per_node)
    sizes = {role.gpus // s.nodes for s in shapes if (role := draft.roles.get(s.role)) and role.gpus % s.nodes == 0}
    halves = {n for n in range(1, draft.gpus_per_node) if draft.gpus_per_node % n == 0}
    smaller = sorted({n for n in sizes | halves if 0 < n < draft.gpus_per_node}, reverse=True)
    own = _with_own_nodes(draft, shapes)
    tries = [(draft, draft.gpus_per_node), (own, draft.gpus_per_node), *((draft, n) for n in smaller[:16])]
    for base, gpus_per_node in tries:
        if not _could_be(base, shapes, gpus_per_node):
            continue
        candidate = replace(base, gpus_per_node=gpus_per_node)
        plan = _plan(candidate)
        if isinstance(plan, Plan) and _layout(plan) == wanted:
            if gpus_per_node == draft.gpus_per_node:
                return candidate, []
            return candidate, [
                f"slurm.gpus_per_node is {gpus_per_node} where the source has "
                f"{draft.gpus_per_node}: so many GPUs of a node are used, and the workers stay "
                "on the nodes that the source gives them"
            ]
    plan = _plan(replace(draft, frontend=[i for i in draft.frontend if i.key != "replicas"]))
    if isinstance(plan, list):
        return draft, []  # the config's own problems say why
    most = plan.nodes
    front = [replace(i, value=min(i.value, most)) if i.key == "replicas" else i for i in draft.frontend]
    return replace(draft, frontend=front), _differences(wanted, _layout(plan))


def _with_own_nodes(draft: Draft, shapes: Sequence[Shape]) -> Draft:
    """The draft whose last role shares no node with the one before."""
    role = draft.roles.get(shapes[-1].role) if len(shapes) > 1 and shapes[-1].fresh else None
    return replace(draft, roles={**draft.roles, shapes[-1].role: replace(role, own_nodes=True)}) if role else draft


def _could_be(draft: Draft, shapes: Sequence[Shape], gpus_per_node: int) -> bool:
    """Whether every worker would at least have as many nodes as it should; planning takes longer."""
    return all(
        shape.role in draft.roles and max(1, draft.roles[shape.role].gpus // gpus_per_node) == shape.nodes
        for shape in shapes
    )


def _layout(plan: Plan) -> Layout:
    return {group.name: group.nodes for group in plan.groups}


def _differences(wanted: Layout, got: Layout) -> list[str]:
    lines = []
    for name, nodes in wanted.items():
        if got.get(name) != nodes:
            have = _span(got[name]) if name in got else "none"
            lines.append(f"{name}: the source means {_span(nodes)}, the plan gives {have}")
    lines += [f"{name}: not in the source" for name in got if name not in wanted]
    if len(lines) > 4:
        lines = [*lines[:3], f"... and {len(lines) - 3} more workers differ"]
    return lines


def _span(nodes: tuple[int, ...]) -> str:
    return f"node {nodes[0]}" if len(nodes) == 1 else f"nodes {nodes[0]} to {nodes[-1]}"


def _plan(draft: Draft) -> Plan | list[Problem]:
    """The draft's plan, or why there is none."""
    source = Source("", {})
    try:
        return make_plan(validate(plain(draft.tree()), source), source)
    except InputError as e:
        return list(e.problems)
