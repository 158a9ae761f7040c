"""`sgl-launch plan CONFIG`: who runs where, as a table or as JSON."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from launcher.base.counting import counted
from launcher.commands.options import config_argument, json_option, planned
from launcher.plan.model import Cluster
from launcher.plan.show import to_json


@click.command("plan")
@config_argument
@json_option
def command(config: str, sets: tuple[str, ...], cluster: Cluster, as_json: bool) -> None:
    """Show who would run where: groups, ranks, nodes, GPUs, ports and commands.

    A port `P+n` is n above the base of a block that the job finds when it starts. `<nodeN>` is
    the address of the allocation's node N.
    """
    plan = to_json(planned(config, sets, cluster))
    click.echo(json.dumps(plan, indent=2) if as_json else text(plan))


def text(plan: dict[str, Any]) -> str:
    """The plan for people, within 80 columns but for the commands."""
    components = plan.get("components", ())
    size = counted(plan["nodes"], "node") + ("" if components else f" of {counted(plan['gpus_per_node'], 'GPU')}")
    lines = [
        f"{plan['name']}: {plan['model']['served_name']}, engine {plan['engine']}, {size} ({plan['cluster']})",
        *(_component(c) for c in components),
        "",
        f"{'group':<14}{'rank':>4} {'node':>5}  {'GPUs':<16}ports",
    ]
    for group in plan["groups"]:
        for rank in group["ranks"]:
            first = rank["rank"] == 0
            ports = " ".join(f"{k}={v}" for k, v in group["ports"].items()) if first else ""
            name = group["name"] if first else ""
            lines += _row(f"{name:<14}{rank['rank']:>4} {rank['node']:>5}  {_span(rank['gpus']):<16}", ports)
    front = plan["frontend"]
    several = {one["name"]: one for one in front["replicas"]} if len(front["replicas"]) > 1 else {}
    balancer = {"balancer": front} if front["balanced"] else {}
    for name, service in {**plan["services"], **(several or {"frontend": front}), **balancer}.items():
        lines.append(f"{name:<14}{'':>4} {service['node']:>5}  {'':<16}port={service['port']}")
    seen = set()
    for group in plan["groups"]:
        if group["role"] in seen:
            continue
        seen.add(group["role"])
        lines += ["", f"{group['name']}, rank 0:"]
        lines += [f"  {k}={shlex.quote(v)}" for k, v in group["env"].items()]
        lines += _command(group["argv"])
    return "\n".join(lines)


def _component(component: dict[str, Any]) -> str:
    """Which nodes are of which kind."""
    nodes, slurm = list(range(component["first"], component["first"] + component["nodes"])), component["slurm"]
    where = "".join(f", {key} {slurm[key]}" for key in ("partition", "constraint") if slurm.get(key))
    return f"{component['roles'][0]}: nodes {_span(nodes)}, {component['gpus_per_node']} GPUs each{where}"


def _row(head: str, ports: str) -> list[str]:
    """The row, its ports wrapped so that it stays within 80 columns."""
    rows, line = [], head
    for port in ports.split():
        if len(line) + len(port) > 79 and line.strip():
            rows.append(line.rstrip())
            line = " " * len(head)
        line += port + " "
    return [*rows, line.rstrip()]


def _span(numbers: list[int]) -> str:
    """[0,1,2,3] as 0-3."""
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(str(n) for n in numbers)


def _command(argv: list[str]) -> list[str]:
    lines: list[str] = []
    for word in argv:
        if word.startswith("--") or not lines:
            lines.append("    " + shlex.quote(word))
        else:
            lines[-1] += " " + shlex.quote(word)
    lines[0] = "  " + lines[0].strip()
    return lines
