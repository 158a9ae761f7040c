"""Where a running job's workers, services and frontend are, from its run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import WorkError
from launcher.runfolder import RunFolder, resolve_port

if TYPE_CHECKING:
    from warmup.requests import Worker


@dataclass(frozen=True)
class GroupAddress:
    """A worker group's head: host name, address and its ports as numbers."""

    name: str
    role: str
    host: str
    address: str
    ports: dict[str, int]

    @property
    def rpc(self) -> str:
        """HOST:PORT of its request plane, by which it is known in etcd."""
        return f"{self.address}:{self.ports['rpc']}"


@dataclass(frozen=True)
class Deployment:
    """A job that has found its nodes."""

    plan: dict[str, Any]
    groups: tuple[GroupAddress, ...]
    services_address: str
    service_ports: dict[str, int]
    endpoint: str
    secrets: Path | None

    @property
    def model(self) -> str:
        return str(self.plan["model"]["served_name"])


def read_deployment(run: RunFolder) -> Deployment:
    """Raises WorkError while the job has not got that far."""
    plan, placement, nodes = run.plan(), run.placement(), run.nodes()
    if placement is None or not nodes:
        raise WorkError(f"{run.path.name} has no addresses yet: the job has not found its nodes")
    secured = plan["config"]["security"]["services"] == "secured"
    by_index = {n.index: n for n in nodes}
    groups = []
    for group in plan["groups"]:
        head = by_index[group["nodes"][0]]
        ports = {k: resolve_port(v, placement) for k, v in group["ports"].items()}
        groups.append(GroupAddress(group["name"], group["role"], head.host, head.address, ports))
    services = {k: resolve_port(v["port"], placement) for k, v in plan["services"].items()}
    return Deployment(
        plan=plan,
        groups=tuple(groups),
        services_address=by_index[plan["frontend"]["node"]].address,
        service_ports=services,
        endpoint=str(placement["endpoint"]),
        secrets=run.path / "secrets" if secured and services else None,
    )


def etcd_client(deployment: Deployment, timeout: float = 5.0) -> Any:
    """A client of the job's etcd; raises pyetcd's exceptions."""
    from launcher.job.registry import connect

    port = deployment.service_ports["etcd"]
    return connect(deployment.services_address, port, deployment.secrets, timeout)


def expected_workers(deployment: Deployment) -> list[Worker]:
    """The plan's workers as the request sweep knows them: by their request-plane address."""
    from warmup.requests import Worker

    return [Worker("agg" if g.role == "aggregated" else g.role, g.name, address=g.rpc) for g in deployment.groups]
