"""Ports of a job: offsets in one block, so that jobs that share nodes do not meet."""

from __future__ import annotations

from launcher.base.portnames import GROUP, SERVICES, Offset
from launcher.catalog.events import events_offset
from launcher.config import Config

_GATE = 6
# Of the frontends: the first one's port above and its metrics' after it (4); further ones of the
# same machine take two ports each from here. Gates are where frontends are on several nodes.
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
    """Ports of NATS, etcd, the first frontend and the front before it on the head node."""
    ports = {name: _port(config, offset) for name, offset in SERVICES.items()}
    front = config.frontend.port
    ports["front"] = _port(config, SERVICES["front"], front if isinstance(front, int) else None)
    return ports


def frontend_ports(config: Config, turn: int) -> dict[str, Offset]:
    """Ports of a frontend; `turn` counts the frontends of this machine before it."""
    first = _FURTHER + 2 * (turn - 1) if turn else SERVICES["frontend"]
    return {"frontend": _port(config, first), "metrics": _port(config, first + 1)}


def gate_port(config: Config) -> Offset:
    """Port of the gate on a frontend's node, by which the front on another node reaches it."""
    return _port(config, _GATE)


def group_ports(config: Config, role: str, slot: int, bootstrap_turn: int) -> dict[str, Offset]:
    """Ports of a worker group on its head node; `slot` tells apart the workers of one node. `bootstrap_turn` counts the
    workers of the same role on this node: a fixed bootstrap port is the first one's, the next takes the port after."""
    base = _SERVICES_SIZE + _GROUP_SIZE * slot
    ports = {name: _port(config, base + offset) for name, offset in GROUP.items()}
    if role != "prefill":
        del ports["bootstrap"]
    elif config.ports.bootstrap != "auto":
        ports["bootstrap"] = Offset(base + GROUP["bootstrap"], config.ports.bootstrap + bootstrap_turn)
    events = events_offset(config, role, config.roles[role].args, slot, base)
    return ports | ({"kv_events": _port(config, events)} if events is not None else {})
