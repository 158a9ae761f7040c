"""What a running job answers when it is asked: workers' health, and their registrations in etcd."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from launcher.run.deployment import Deployment, GroupAddress

TIMEOUT = 2.0


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
    """Ask all at once; takes a little more than TIMEOUT at most. Never raises."""
    with ThreadPoolExecutor(max_workers=32) as pool:
        etcd = pool.submit(_leases, deployment)
        health = dict(pool.map(lambda g: (g.name, _health(g, deployment.health)), deployment.groups))
        leases, why = etcd.result()
    missing = [why] if why else []
    silent = [name for name, said in health.items() if said == "no answer"]
    if silent and len(silent) == len(health):
        missing.append("health: no worker answers from this machine; on the cluster's login node they may")
    return Answers(health, leases, tuple(missing))


def _health(group: GroupAddress, path: str | None) -> str:
    """SGLang's own server has it at `path`, Dynamo's workers on a port of its own."""
    port = group.ports.get("http" if path else "system")
    if port is None or path == "":
        return "-"
    connection = http.client.HTTPConnection(group.address, port, timeout=TIMEOUT)
    try:
        connection.request("GET", path or "/health")
        return "ok" if connection.getresponse().status == 200 else "not ready"
    except ConnectionRefusedError:
        return "refused"
    except (OSError, http.client.HTTPException):
        return "no answer"
    finally:
        connection.close()


def _leases(deployment: Deployment) -> tuple[dict[str, Lease] | None, str]:
    """The registrations by group, or why there are none."""
    if "etcd" not in deployment.service_ports:
        return None, ""
    secrets = deployment.secrets
    if secrets is not None:
        try:
            (secrets / "client.key").read_bytes()
        except OSError as e:
            return None, f"etcd: the job's keys in {secrets} cannot be read ({e.strerror})"
    from launcher.run.deployment import etcd_client
    from launcher.run.registry import registrations

    where = f"{deployment.service_hosts['etcd']}:{deployment.service_ports['etcd']}"
    try:
        client = etcd_client(deployment, timeout=TIMEOUT)
        try:
            names = {g.rpc: g.name for g in deployment.groups}
            found = {}
            for one in registrations(client):
                if one.address in names:
                    left, granted = _ttl(client, one.instance_id)
                    found[names[one.address]] = Lease(one.instance_id, one.component, left, granted)
        finally:
            client.close()
    except Exception as e:  # grpc's, pyetcd's and the file's: all mean that it can't be asked
        return None, f"etcd: no answer from {where} ({type(e).__name__})"
    return found, ""


def _ttl(client: object, lease: int) -> tuple[float | None, float | None]:
    try:
        info = client.get_lease_info(lease)  # type: ignore[attr-defined]
        return float(info.TTL), float(info.grantedTTL)
    except Exception:  # a lease that ended meanwhile
        return None, None
