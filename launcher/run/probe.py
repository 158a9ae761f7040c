"""What a running job answers when it is asked: workers' health, and their registrations in etcd.

All are asked side by side, and what has not answered at the limit counts as silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from launcher.run.deployment import Deployment, GroupAddress, etcd_client
from launcher.run.registry import registrations

LIMIT = 2.0  # seconds for everything
OPEN_FILES = 64  # that are left for other things than connections


@dataclass(frozen=True)
class Answers:
    """What was answered, by group."""

    health: dict[str, str] = field(default_factory=dict)  # ok, not ready, refused or no answer
    leases: dict[str, float | None] | None = None  # seconds for which it is registered; None if etcd could not be asked
    missing: tuple[str, ...] = ()  # which source did not answer, and why


def ask(deployment: Deployment) -> Answers:
    """Ask all at once, for at most LIMIT seconds. Never raises."""
    etcd, deadline = _Etcd(deployment), time.monotonic() + LIMIT
    if has_etcd := "etcd" in deployment.service_ports:
        etcd.start()
    health = asyncio.run(_all_health(deployment.groups, deployment.health))
    if has_etcd:
        etcd.join(max(deadline - time.monotonic(), 0.0))
    leases = None if etcd.leases is None else dict(etcd.leases)
    missing = [etcd.why] if has_etcd and leases is None else []
    if health and all(said == "no answer" for said in health.values()):
        missing.append("health: no worker answers from this machine; on the cluster's login node they may")
    return Answers(health, leases, tuple(missing))


async def _all_health(groups: Sequence[GroupAddress], path: str | None) -> dict[str, str]:
    """As many at once as there may be open files; each has its share of the limit."""
    most = max(_open_files() - OPEN_FILES, 1)
    turns = math.ceil(len(groups) / most) or 1
    found: dict[str, str] = {}
    for turn in range(turns):
        some = groups[turn * most : (turn + 1) * most]
        said = await asyncio.gather(*(_health(g, path, (LIMIT - 0.3) / turns) for g in some))
        found.update(zip((g.name for g in some), said, strict=True))
    return found


def _open_files() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft if soft != resource.RLIM_INFINITY else 65536


async def _health(group: GroupAddress, path: str | None, limit: float) -> str:
    """SGLang's own server has it at `path`, Dynamo's workers on a port of its own."""
    port = group.ports.get("http" if path else "system")
    if port is None or path == "":
        return "-"
    try:
        status = await asyncio.wait_for(_get(group.address, port, path or "/health"), limit)
    except ConnectionRefusedError:
        return "refused"
    except (OSError, ValueError, asyncio.TimeoutError):
        return "no answer"
    return "ok" if status == 200 else "not ready"


async def _get(host: str, port: int, path: str) -> int:
    """The status of a GET. Raises OSError, or ValueError for what is no HTTP."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        words = (await reader.readline()).split()
    finally:
        writer.close()
    if len(words) < 2 or not words[0].startswith(b"HTTP/"):
        raise ValueError("no HTTP")
    return int(words[1])


class _Etcd(threading.Thread):
    """Asks for the registrations: a daemon, since nobody waits for it longer than LIMIT."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(name="etcd", daemon=True)
        self._deployment = deployment
        self.leases: dict[str, float | None] | None = None
        self.why = f"etcd: no answer from {self._where} within {LIMIT:g} s"

    @property
    def _where(self) -> str:
        return f"{self._deployment.service_hosts.get('etcd')}:{self._deployment.service_ports.get('etcd')}"

    def run(self) -> None:
        try:
            if secrets := self._deployment.secrets:
                (secrets / "client.key").read_bytes()
        except OSError as e:
            self.why = f"etcd: the job's keys in {secrets} cannot be read ({e.strerror})"
            return
        try:
            client = etcd_client(self._deployment, timeout=LIMIT)
            with contextlib.closing(client):
                names = {g.rpc: g.name for g in self._deployment.groups}
                ids = {names[r.address]: r.instance_id for r in registrations(client) if r.address in names}
                self.leases = dict.fromkeys(ids)
                for name, lease in ids.items():
                    with contextlib.suppress(Exception):  # a lease that ended meanwhile
                        self.leases[name] = float(client.get_lease_info(lease).TTL)
        except Exception as e:  # grpc's, pyetcd's and the file's: all mean that it can't be asked
            self.why = f"etcd: no answer from {self._where} ({type(e).__name__})"
