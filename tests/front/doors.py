"""The listening sockets of a deployment, each with the row of docs/security.md that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs" / "security.md"


@dataclass(frozen=True)
class Door:
    """A listening socket: the program, and what the plan calls the port (`stream`: none of the block's)."""

    program: str
    port: str
    address: str

    @property
    def is_loopback(self) -> bool:
        return self.address.startswith("127.") or self.address in ("::1", "[::1]")


def port_names(plan: dict[str, Any], placement: dict[str, Any]) -> dict[int, str]:
    """Names of the plan's ports, by number."""
    base = int(placement["port_base"])
    ports = {name: service["port"] for name, service in plan["services"].items()}
    ports["front"] = plan["frontend"]["port"]
    found = {base + 2: "etcd_peer", base + 4: "metrics" if plan["engine"] == "sglang" else "stream", base + 6: "gate"}
    entries = [*ports.items(), *(("frontend", f["port"]) for f in plan["frontend"]["replicas"])]
    entries += [item for group in plan["groups"] for item in group["ports"].items()]
    for name, port in entries:
        found[port if isinstance(port, int) else base + int(port.removeprefix("P+"))] = name
    return found


def documented() -> set[tuple[str, str]]:
    """(port, where it listens) of each row of the table."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|", DOCS.read_text(), re.M)
    return {(name, one.strip()) for name, where in rows for one in where.split(", and ")}


def documented_names() -> set[str]:
    """What the table calls its ports."""
    return {name for name, _ in documented()}


def unlisted(doors: Iterable[Door], node_addresses: set[str]) -> list[Door]:
    """As undocumented(), where other users have processes on the nodes: those on loopback must be in the table too."""
    rows = {name for name, where in documented() if where.startswith("127.0.0.1")} | {"stream"}
    doors = list(doors)
    return [d for d in doors if d.is_loopback and d.port not in rows] + undocumented(doors, node_addresses)


def undocumented(doors: Iterable[Door], node_addresses: set[str]) -> list[Door]:
    """Those that are neither on loopback nor in the table, with where they listen."""
    rows = documented()
    rows |= {("stream", "the node's address")}  # as the document says, where that is the default route's

    def where(door: Door) -> str:
        if door.address in node_addresses:
            return "the node's address"
        return "every address" if door.address in ("0.0.0.0", "*", "[::]", "::") else "the default route's address"

    return sorted(
        (d for d in doors if not d.is_loopback and (d.port, where(d)) not in rows), key=lambda d: (d.program, d.port)
    )
