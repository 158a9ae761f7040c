"""A plan as `plan --json` and plan.json have it (docs/plan.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from launcher.base.portnames import FIRST, LAST, Offset
from launcher.base.words import Word, shown
from launcher.engines import Command
from launcher.plan.components import Component
from launcher.plan.model import Group, Plan, RolePlan


def to_json(plan: Plan) -> dict[str, Any]:
    """The stable shape of `plan --json` and plan.json; docs/plan.md describes each key."""
    return {
        "schema": 1,
        "name": plan.config.name,
        "engine": plan.config.engine,
        "cluster": plan.cluster,
        "nodes": plan.nodes,
        "spare_nodes": plan.spare_nodes,
        "gpus_per_node": max(c.gpus_per_node for c in plan.components),
        **({"components": [_component_json(plan, c) for c in plan.components]} if plan.heterogeneous else {}),
        "model": {"path": plan.config.model.path, "served_name": plan.config.served_name},
        "ports": {"base": plan.config.ports.base, "block": plan.port_block, "first": FIRST, "last": LAST},
        "groups": [_group_json(plan, role, group) for role in plan.roles for group in role.groups],
        "services": {
            name: {
                "node": plan.services_node,
                "port": plan.service_ports[name].json(),
                **_command_json(command, _values(plan, plan.services_node, {})),
            }
            for name, command in plan.services.items()
        },
        "frontend": {
            "node": plan.head_node,
            "port": plan.service_ports["front"].json(),
            "balanced": bool(plan.fronts),
            "replicas": [{"name": f.name, "node": f.node, "port": f.ports["frontend"].json()} for f in plan.frontends],
            **_command_json(plan.frontend, _frontend_values(plan), plan.config.env),
        },
        "health": plan.health,
        "config": plan.config.model_dump(mode="json", exclude_none=True),
    }


def _component_json(plan: Plan, component: Component) -> dict[str, Any]:
    of_it = {key: getattr(component, key) for key in ("first", "nodes", "gpus_per_node")}
    return {"roles": list(component.roles), **of_it, "slurm": plan.config.slurm_of(component.roles[0]).given}


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


def _values(plan: Plan, node: int, ports: Mapping[str, Offset]) -> dict[str, str]:
    """The script's variables of a process on this node, as far as they are known before the job runs."""
    own = {"NODE_ADDR": f"<node{node}>", "SERVICES_ADDR": f"<node{plan.services_node}>"}
    return {**_port_values({**plan.service_ports, **ports}), **own}


def _port_values(ports: Mapping[str, Offset], prefix: str = "") -> dict[str, str]:
    return {f"{prefix}{name.upper()}_PORT": str(port) for name, port in ports.items()}


def _frontend_values(plan: Plan) -> dict[str, str]:
    """The variables of the first frontend, among them its workers' addresses."""
    values = _values(plan, plan.frontends[0].node, plan.frontends[0].ports)
    for group in plan.named_groups:
        prefix = f"{group.worker.prefix}_"
        values |= {f"{prefix}ADDR": f"<node{group.nodes[0]}>", **_port_values(group.ports, prefix)}
    return values


def _group_json(plan: Plan, role: RolePlan, group: Group) -> dict[str, Any]:
    head = group.nodes[0]
    # rank 0's; the others differ in their --node-rank and own address alone
    values = _values(plan, head, group.ports)
    values |= {"GROUP": group.name, "RANK": "0", "NNODES": str(len(group.ranks)), "HEAD_ADDR": f"<node{head}>"}
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
        **_command_json(command, values, plan.config.env),
        **({"file": [shown(line, values) for line in command.file.lines]} if command.file else {}),
    }


def _command_json(command: Command, values: dict[str, str], env: Mapping[str, Word] | None = None) -> dict[str, Any]:
    """Words and environment as they will be; `env` is the config's own, which the command's goes over."""
    whole = {**(env or {}), **command.env}
    return {"argv": [shown(w, values) for w in command.argv], "env": {k: shown(w, values) for k, w in whole.items()}}
