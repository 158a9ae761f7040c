"""`sgl-launch plan CONFIG`: who runs where, as a table or as JSON."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Iterator, Sequence

import click

from launcher.base.counting import counted
from launcher.base.words import flag_lines
from launcher.commands.options import config_argument, json_option, offline_checks, planned
from launcher.plan.model import Cluster
from launcher.plan.show import to_json
from launcher.run.jsonread import Port
from launcher.run.planned import Planned, PlannedComponent


@click.command("plan")
@config_argument
@json_option
def command(config: str, sets: tuple[str, ...], cluster: Cluster, as_json: bool) -> None:
    """Show who would run where: groups, ranks, nodes, GPUs, ports and commands.

    A port `P+n` is n above the base of a block that the job finds when it starts. `<nodeN>` is
    the address of the allocation's node N.
    """
    plan = to_json(planned(config, sets, cluster))
    click.echo(json.dumps(plan, indent=2) if as_json else text(Planned.read(plan)))
    offline_checks(config, sets, cluster, refuse=False)


def text(plan: Planned) -> str:
    """The plan for people, within 80 columns but for the commands."""
    size = counted(plan.nodes, "node") + ("" if plan.components else f" of {counted(plan.gpus_per_node, 'GPU')}")
    lines = [
        f"{plan.name}: {plan.served_name}, engine {plan.engine}, {size} ({plan.cluster})",
        *map(_component, plan.components),
        "",
        f"{'group':<14}{'rank':>4} {'node':>5}  {'GPUs':<16}ports",
    ]
    for group in plan.groups:
        for rank in group.ranks:
            first = rank.rank == 0
            ports = " ".join(f"{k}={v}" for k, v in group.ports.items()) if first else ""
            name = group.name if first else ""
            lines += _row(f"{name:<14}{rank.rank:>4} {rank.node:>5}  {_span(rank.gpus):<16}", ports)
    lines += [f"{name:<14}{'':>4} {node:>5}  {'':<16}port={port}" for name, node, port in _services(plan)]
    for role in plan.roles:
        group = plan.first_of(role)
        lines += ["", f"{group.name}, rank 0:"]
        lines += [f"  {k}={shlex.quote(v)}" for k, v in group.env.items()]
        program, *flags = flag_lines(group.argv)
        lines += [f"  {program}", *(f"    {flag}" for flag in flags)]
    return "\n".join(lines)


def _services(plan: Planned) -> Iterator[tuple[str, int, Port]]:
    """Name, node and port of NATS, etcd, the frontends and the balancer before them."""
    front = plan.frontend
    yield from ((name, service.node, service.port) for name, service in plan.services.items())
    if len(front.replicas) > 1:
        yield from ((f.name, f.node, f.port) for f in front.replicas)
    elif not front.balanced:
        yield "frontend", front.node, front.port
    if front.balanced:
        yield "balancer", front.node, front.port


def _component(component: PlannedComponent) -> str:
    """Which nodes are of which kind."""
    nodes, slurm = range(component.first, component.first + component.nodes), component.slurm
    where = "".join(f", {key} {slurm[key]}" for key in ("partition", "constraint") if slurm.get(key))
    return f"{component.roles[0]}: nodes {_span(nodes)}, {component.gpus_per_node} GPUs each{where}"


def _row(head: str, ports: str) -> list[str]:
    """The row, its ports wrapped so that it stays within 80 columns."""
    lines = textwrap.wrap(ports, 79 - len(head), break_long_words=False, break_on_hyphens=False) or [""]
    return [f"{head}{lines[0]}".rstrip(), *(" " * len(head) + line for line in lines[1:])]


def _span(numbers: Sequence[int]) -> str:
    """[0,1,2,3] as 0-3."""
    if len(numbers) > 1 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(str(n) for n in numbers)
