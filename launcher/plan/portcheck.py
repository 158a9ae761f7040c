"""Whether the ports that a config fixes can be had together."""

from __future__ import annotations

from launcher.base.errors import InputError, Problem
from launcher.base.portnames import FIRST, LAST
from launcher.config import Config, Source
from launcher.plan.model import Front, Group, Plan


def check_ports(
    config: Config,
    source: Source,
    groups: tuple[Group, ...],
    fronts: tuple[Front, ...],
    block: int,
    cluster: str,
) -> None:
    """Ports that the config fixes must differ on a node, from each other and from a fixed block."""
    taken: dict[tuple[int, int], str] = {}
    problems: list[Problem] = []
    base = config.ports.base

    def claim(node: int, number: int, what: str, *keys: str) -> None:
        at = 0 if cluster == "local" else node  # local nodes are one machine
        message = None
        if number > 65535:
            message = f"port {number} ({what}) is above 65535; choose a lower one or auto"
        elif base != "auto" and base <= number < base + block:
            message = (
                f"port {number} ({what}) lies in the job's own block {base}..{base + block - 1} (ports.base); "
                "choose another one or auto"
            )
        elif other := taken.get((at, number)):
            where = "" if cluster == "local" else f" on node {node}"
            message = f"port {number} is used twice{where}, by {other} and {what}; choose another one or auto"
        taken[at, number] = what
        if message and not any(p.key == ".".join(keys) for p in problems):
            problems.append(source.problem(message, *keys))

    if base != "auto" and base + block > LAST + 1:
        # Dynamo reads DYN_SYSTEM_PORT as a signed 16-bit number (measured, 1.4.2)
        message = f"the job needs {block} ports from here, all below {LAST + 1}; choose {LAST + 1 - block} or less"
        problems.append(source.problem(message, "ports", "base"))
    if base == "auto" and block > LAST - FIRST + 1:
        message = f"{len(groups)} workers on one machine need {block} ports, more than there are; plan fewer workers"
        problems.append(source.problem(message, groups[-1].role, "workers"))
    if isinstance(config.frontend.port, int):
        claim(fronts[0].node, config.frontend.port, "the frontend", "frontend", "port")
    for group in groups:
        port = group.ports.get("bootstrap")
        if port is not None and port.fixed is not None and config.ports.bootstrap != "auto":
            claim(group.ranks[0].node, port.fixed, f"{group.name}'s bootstrap server", "ports", "bootstrap")
    if problems:
        raise InputError(*problems)


def fixed_ports(plan: Plan) -> list[tuple[int, int, str]]:
    """(node, port, what) of every port that the config fixes outside the block."""
    found = []
    number = plan.service_ports["front"].fixed
    if plan.fronts and number is not None:
        found.append((plan.fronts[0].node, number, "frontend.port"))
    for group in plan.groups:
        port = group.ports.get("bootstrap")
        if port is not None and port.fixed is not None:
            found.append((group.ranks[0].node, port.fixed, "ports.bootstrap"))
    base = plan.config.ports.base
    own = range(0) if base == "auto" else range(base, base + plan.port_block)
    return [f for f in found if f[0] < plan.nodes and f[1] not in own]
