"""What nodes say of themselves, and what follows from it: addresses and a block of ports. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.base.errors import WorkError
from launcher.base.portnames import FIRST, LAST

CLAIM = 256  # ports that are locked together; the smallest block of a job
# made by container runtimes, virtual machines and USB devices: no way to another node
_INNER = re.compile(r"(lo|docker|br-|virbr|veth|cni|cali|flannel|podman|lxc|lxd|vnet|tap|usb|idrac|enx)", re.I)


@dataclass(frozen=True)
class Facts:
    """One node. `addresses` are (interface, IPv4 address, scope) of the interfaces that are up, `routes` the interfaces
    of default routes, `ports` what something listens on, `gpus` its CUDA_VISIBLE_DEVICES or "all". `addresses6` are
    (interface, IPv6 address) of a node without an IPv4 address of its own, `has6` the interfaces with an IPv6 address,
    be it of the link alone."""

    host: str
    addresses: tuple[tuple[str, str, str], ...] = ()
    routes: tuple[str, ...] = ()
    ports: frozenset[int] = frozenset()
    gpus: str = "all"
    addresses6: tuple[tuple[str, str], ...] = ()
    has6: frozenset[str] = frozenset()


_SHAPES = {"address": 3, "address6": 2, "route": 1, "ports": 1, "has6": 1}  # words of such a line


class FactsReader:
    """Collects a node's lines until it has said all. `faults` are what nodes say they lack."""

    def __init__(self) -> None:
        self._said: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
        self.whole: dict[str, Facts] = {}
        self.faults: dict[str, str] = {}

    def take(self, kind: str, words: Sequence[str]) -> None:
        """One line of templates/node.sh, without its mark. What has another shape is left out."""
        host, *rest = words or ("",)
        if kind == "fault":
            self.faults[host] = " ".join(rest)
        elif len(rest) == _SHAPES.get(kind):
            self._said[host, kind].append(tuple(rest))
        elif kind == "facts" and rest:
            addresses, addresses6, routes, ports, has6 = (tuple(self._said[host, k]) for k in _SHAPES)
            listening = ports[-1][0].split(",") if ports else []
            numbers = frozenset(int(port, 16) for port in listening if re.fullmatch(r"[0-9A-Fa-f]{1,4}", port))
            names = frozenset(name for (name,) in has6)
            self.whole[host] = Facts(host, addresses, tuple(r for (r,) in routes), numbers, rest[0], addresses6, names)


def stream_interface(facts: Facts, interface: str, dynamo: str) -> str:
    """The interface at which Dynamo's frontend on a node is told to take answers; empty where that would fail. `dynamo`
    is its version, empty if it isn't known: before 1.6 it takes an interface's IPv6 address if there is one, and can't
    listen at one of the link alone."""
    new = [int(n) for n in re.findall(r"\d+", dynamo)[:2]] >= [1, 6]
    return interface if new or interface == "lo" or interface not in facts.has6 else ""


def choose_address(facts: Facts, interface: str | None) -> tuple[str, str]:
    """(address, interface) by which other nodes reach this one: the interface asked for, else the default route's,
    else the first that can lead to another node, else an address of the node itself on lo (nodes that are reached over
    links without addresses). Raises WorkError naming the node and what it has."""
    by_scope = sorted(facts.addresses, key=lambda a: a[2] != "global")
    if interface is not None:
        for name, address, _ in by_scope:
            if name == interface or address == interface:
                return address, name
        fit = [a[0] for a in facts.addresses if _leads_out(a[0], a[1], facts)] or [a[0] for a in facts.addresses]
        choose = f"set network.interface to one of: {', '.join(dict.fromkeys(fit))}" if fit else "no interface has one"
        raise WorkError(f"node {facts.host}: interface {interface} has no IPv4 address; {choose}")
    usable = [a for a in by_scope if _leads_out(a[0], a[1], facts)]
    for route in facts.routes:
        for name, address, _ in usable:
            if name == route:
                return address, name
    own = [a for a in by_scope if a[0] == "lo" and a[2] == "global" and not ipaddress.ip_address(a[1]).is_loopback]
    if own and (facts.routes or not usable):  # the default route's link has none: packets leave with this one
        return own[0][1], own[0][0]
    if usable:
        return usable[0][1], usable[0][0]
    if facts.addresses6:
        shown = ", ".join(f"{name} {address}" for name, address in facts.addresses6)
        raise WorkError(f"node {facts.host} has IPv6 addresses only ({shown}), which is not supported: it needs IPv4")
    shown = ", ".join(f"{name} {address}" for name, address, _ in facts.addresses)
    raise WorkError(
        f"node {facts.host}: no IPv4 address by which other nodes can reach it (it has {shown or 'none'}); "
        "set network.interface"
    )


def gpus_of(host: str, visible: str, positions: Sequence[int]) -> str:
    """CUDA_VISIBLE_DEVICES of a rank that has the GPUs at these positions of what the job was given on its node
    (`visible`); without a list they are the GPUs themselves. Raises WorkError where there are too few."""
    if visible == "all":
        return ",".join(map(str, positions))
    given = visible.split(",")
    if positions and max(positions) >= len(given):
        raise WorkError(f"{host} has {len(given)} GPUs for this job; a rank wants number {max(positions) + 1}")
    return ",".join(given[position] for position in positions)


def _leads_out(interface: str, address: str, facts: Facts) -> bool:
    ip = ipaddress.ip_address(address)
    inner = _INNER.match(interface) and interface not in facts.routes and not interface.startswith("enxp")
    return not (ip.is_loopback or ip.is_link_local or inner)


def check_distinct(addresses: Mapping[str, str], facts: Mapping[str, Facts]) -> None:
    """Raises WorkError when two nodes have the same address (host name -> address), with the interfaces whose
    addresses differ."""
    seen: dict[str, str] = {}
    for host, address in addresses.items():
        if (other := seen.setdefault(address, host)) != host:
            pair = facts[other], facts[host]
            found = [{n: a for n, a, _ in node.addresses if _leads_out(n, a, node)} for node in pair]
            differ = [name for name in found[0] if found[1].get(name, found[0][name]) != found[0][name]]
            name = next((n for n, a, _ in facts[host].addresses if a == address), "?")
            raise WorkError(
                f"nodes {other} and {host} have the same address {address} ({name}); set network.interface to "
                + (f"one of: {', '.join(differ)}" if differ else "one whose addresses differ")
            )


def choose_ports(
    number: int,
    block: int,
    base: int | None,
    listening: Mapping[str, frozenset[int]],
    fixed: Sequence[tuple[str, int, str]],
    refused: Collection[int] = (),
) -> int:
    """The first port of a block that is free on every node. It starts from the job's `number`, so that jobs which
    start together look at different blocks; `base` is the config's own choice, `refused` are first ports of blocks
    that other jobs have claimed, `fixed` are (host, port, key of the config) outside the block. Raises WorkError naming
    what is taken where."""
    for host, port, key in fixed:
        if port in listening.get(host, ()):
            raise WorkError(f"port {port} ({key}) is taken on {host}; choose another one or auto")
    taken = {port for ports in listening.values() for port in ports} | {port for _, port, _ in fixed}

    def free(first: int) -> bool:
        return not any(first <= port < first + block for port in taken)

    if base is not None:
        if not free(base):
            where = sorted(p for p in taken if base <= p < base + block)
            raise WorkError(f"ports {base}..{base + block - 1} (ports.base) are not free: {where[0]} is taken")
        return base
    blocks = (LAST + 1 - FIRST) // block
    for turn in range(blocks):
        first = FIRST + (number + turn) % blocks * block
        if first not in refused and free(first):
            return first
    raise WorkError(f"no block of {block} ports between {FIRST} and {LAST} is free on all nodes; set ports.base")


def claims_of(base: int, block: int) -> list[int]:
    """What is locked for a block of ports: the first ports of all blocks of the smallest size that it touches, so that
    jobs with blocks of different sizes, or a base of their own, meet at a lock."""
    first = FIRST + (base - FIRST) // CLAIM * CLAIM
    return list(range(first, base + block, CLAIM))
