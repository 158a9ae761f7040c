"""Names and offsets of a job's ports: what an engine's command may refer to as <NAME>_PORT."""

from __future__ import annotations

from dataclasses import dataclass

# Blocks lie below Linux's ephemeral ports (net.ipv4.ip_local_port_range starts at 32768).
FIRST, LAST = 20000, 32767

# `front` is the port that clients use, `frontend` the one behind it
SERVICES = {"nats": 0, "etcd": 1, "etcd_peer": 2, "frontend": 3, "front": 5}
# With DP attention SGLang takes dist-init's port and those up to 13 above it (0.5.16 and 0.5.23,
# PortArgs.init_new). `http` is SGLang's own server, `rpc` Dynamo's request plane, `system` its health.
GROUP = {"dist_init": 0, "bootstrap": 14, "system": 15, "rpc": 16, "http": 17, "nccl": 18}


@dataclass(frozen=True)
class Offset:
    """A port: a fixed number, or `offset` above the base of the job's block."""

    offset: int = 0
    fixed: int | None = None

    def json(self) -> int | str:
        return self.fixed if self.fixed is not None else f"P+{self.offset}"

    def __str__(self) -> str:
        return str(self.json())
