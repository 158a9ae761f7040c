"""What a running job answers when it is asked: workers' health, and their registrations in etcd.

All are asked side by side, and what has not answered at the limit counts as silent.
"""

from __future__ import annotations

import asyncio
import math
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from launcher.run.deployment import Deployment, GroupAddress

LIMIT = 2.5  # seconds for everything
OPEN_FILES = 64  # that are left for other things than connections


@dataclass(frozen=True)
class Lease:
    """A worker's registration: its id, and the seconds for which it holds without being renewed."""

    instance_id: int
    component: str
    left: float | None
    granted: float | None


@dataclass(frozen=True)
class Answers:
    """`health` by group: ok, not ready, refused or no answer. `leases` by group; None if etcd could
    not be asked. `missing` says which source did not answer, and why."""

    health: dict[str, str] = field(default_factory=dict)
    leases: dict[str, Lease] | None = None
    missing: tuple[str, ...] = ()


def ask(deployment: Deployment) -> Answers:
    """Ask all at once, for at most LIMIT seconds. Never raises."""
    etcd = _Leases(deployment, time.monotonic() + LIMIT)
    health = asyncio.run(_all_health(deployment.groups, deployment.health))
    leases, why = etcd.result()
    missing = [why] if why else []
    silent = [name for name, said in health.items() if said == "no answer"]
    if silent and len(silent) == len(health):
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


class _Leases:
    """The registrations by group, asked for by a thread that nobody waits for longer than until `deadline`."""

    def __init__(self, deployment: Deployment, deadline: float) -> None:
        self._deployment, self._deadline = deployment, deadline
        self._found: dict[str, Lease] | None = None
        self._why = ""
        self._thread: threading.Thread | None = None
        if "etcd" not in deployment.service_ports:
            return
        self._where = f"{deployment.service_hosts['etcd']}:{deployment.service_ports['etcd']}"
        self._why = f"etcd: no answer from {self._where} within {LIMIT:g} s"
        secrets = deployment.secrets
        try:
            if secrets is not None:
                (secrets / "client.key").read_bytes()
        except OSError as e:
            self._why = f"etcd: the job's keys in {secrets} cannot be read ({e.strerror})"
            return
        self._thread = threading.Thread(target=self._ask, name="etcd", daemon=True)
        self._thread.start()

    def result(self) -> tuple[dict[str, Lease] | None, str]:
        """What is known at the deadline, or why nothing is."""
        if self._thread is not None:
            self._thread.join(max(self._deadline - time.monotonic(), 0.0))
        found = self._found
        return (None if found is None else dict(found)), ("" if found is not None else self._why)

    def _ask(self) -> None:
        try:
            from launcher.run.deployment import etcd_client
            from launcher.run.registry import registrations

            client = etcd_client(self._deployment, timeout=LIMIT)
            try:
                names = {g.rpc: g.name for g in self._deployment.groups}
                known = {names[r.address]: r for r in registrations(client) if r.address in names}
                found = {name: Lease(r.instance_id, r.component, None, None) for name, r in known.items()}
                self._found = found
                for name, one in list(found.items()):
                    left, granted = _ttl(client, one.instance_id)
                    found[name] = Lease(one.instance_id, one.component, left, granted)
            finally:
                client.close()
        except Exception as e:  # grpc's, pyetcd's and the file's: all mean that it can't be asked
            self._why = f"etcd: no answer from {self._where} ({type(e).__name__})"


def _ttl(client: object, lease: int) -> tuple[float | None, float | None]:
    try:
        info = client.get_lease_info(lease)  # type: ignore[attr-defined]
        return float(info.TTL), float(info.grantedTTL)
    except Exception:  # a lease that ended meanwhile
        return None, None
