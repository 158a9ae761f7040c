"""Ports of a job: offsets in one block, so that jobs that share nodes do not meet."""

from __future__ import annotations

from launcher.base.portnames import GROUP, SERVICES, Offset
from launcher.config import Config

_BALANCER = 5
# Of the frontends: the first one's port above and its metrics' after it (4); further ones of the
# same machine take two ports each from here.
_FURTHER, MOST_FRONTENDS = 6, 6
_SERVICES_SIZE = 16
_GROUP_SIZE = 24
# One size for nearly every job keeps the blocks of different jobs apart.
_BLOCK = 256


def block_size(slots: int) -> int:
    """Ports in a job's block, for at most `slots` workers with ports on one node."""
    need = _SERVICES_SIZE + _GROUP_SIZE * slots
    return -(-need // _BLOCK) * _BLOCK


def _port(config: Config, offset: int, fixed: int | None = None) -> Offset:
    if fixed is None and config.ports.base != "auto":
        fixed = config.ports.base + offset
    return Offset(offset, fixed)


def service_ports(config: Config) -> dict[str, Offset]:
    """Ports of NATS, etcd and the frontend (or what balances several) on the head node."""
    ports = {name: _port(config, offset) for name, offset in SERVICES.items()}
    first = _BALANCER if config.frontend.one_address else SERVICES["frontend"]
    ports["frontend"] = _port(config, first, None if config.frontend.port == "auto" else config.frontend.port)
    return ports


def frontend_ports(config: Config, turn: int) -> dict[str, Offset]:
    """Ports of a frontend; `turn` counts the frontends of this machine before it."""
    first = _FURTHER + 2 * (turn - 1) if turn else SERVICES["frontend"]
    ports = {"frontend": _port(config, first), "metrics": _port(config, first + 1)}
    if config.frontend.port != "auto" and not config.frontend.one_address:
        ports["frontend"] = Offset(first, config.frontend.port + turn)
    return ports


def group_ports(config: Config, role: str, slot: int, bootstrap_turn: int) -> dict[str, Offset]:
    """Ports of a worker group on its head node; `slot` tells apart the workers of one node. `bootstrap_turn` counts the
    workers of the same role on this node: a fixed bootstrap port is the first one's, the next takes the port after."""
    base = _SERVICES_SIZE + _GROUP_SIZE * slot
    ports = {name: _port(config, base + offset) for name, offset in GROUP.items()}
    if role != "prefill":
        del ports["bootstrap"]
    elif config.ports.bootstrap != "auto":
        ports["bootstrap"] = Offset(base + GROUP["bootstrap"], config.ports.bootstrap + bootstrap_turn)
    return ports
