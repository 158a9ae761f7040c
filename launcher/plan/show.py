"""A plan as `plan --json` and plan.json have it (docs/plan.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from launcher.base.portnames import FIRST, LAST
from launcher.base.words import Word, shown
from launcher.engines import Command, Worker
from launcher.plan.components import components_json
from launcher.plan.model import Group, Plan, Rank, RolePlan


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


def embedded(plan: Plan) -> dict[str, Any]:
    """The plan at the end of the job script: as plan.json, without the commands, which the script's functions are."""
    whole = to_json(plan)
    for part in (*whole["groups"], *whole["services"].values(), whole["frontend"]):
        for key in ("argv", "env", "file", "ranks"):
            part.pop(key, None)
    # defaults are the same where the script runs: the versions are compared there
    whole["config"] = plan.config.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    if plan.only_kernels:
        whole["only_kernels"] = True
    return whole


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
