"""Where a running job's workers, services and frontend are, from its run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from launcher.base.errors import WorkError
from launcher.run.folder import RunFolder, resolve_port

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

    @property
    def url(self) -> str:
        """Of rank 0's own HTTP server (SGLang without Dynamo)."""
        return f"http://{self.address}:{self.ports['http']}"


@dataclass(frozen=True)
class Deployment:
    """A job that has found its nodes."""

    plan: dict[str, Any]
    groups: tuple[GroupAddress, ...]
    service_hosts: dict[str, str]
    service_ports: dict[str, int]
    endpoints: tuple[str, ...]
    balancer: str | None
    secrets: Path | None

    @property
    def endpoint(self) -> str:
        """Where clients go: the address before the frontends, or the first frontend's."""
        return self.balancer or self.endpoints[0]

    @property
    def nats_tls(self) -> bool:
        """Whether NATS asks for a certificate."""
        config = self.plan["config"]
        if config["services"]["where"] == "external":
            return str(config["services"]["nats"]).startswith("tls:")
        return bool(config["security"]["nats_tls"])

    @property
    def health(self) -> str | None:
        """Path of a worker's own health; None where workers register in etcd, empty where neither tells."""
        path: str | None = self.plan.get("health")
        return path

    @property
    def model(self) -> str:
        return str(self.plan["model"]["served_name"])


def read_deployment(run: RunFolder) -> Deployment:
    """Raises WorkError while the job has not got that far."""
    plan, placement, nodes = run.plan(), run.placement(), run.nodes()
    if placement is None or not nodes:
        raise WorkError(f"{run.path.name} has no addresses yet: the job has not found its nodes")
    config = plan["config"]
    by_index = {n.index: n for n in nodes}
    groups = []
    for group in plan["groups"]:
        head = by_index[group["nodes"][0]]
        ports = {k: resolve_port(v, placement) for k, v in group["ports"].items()}
        groups.append(GroupAddress(group["name"], group["role"], head.host, head.address, ports))
    hosts = {k: by_index[v["node"]].address for k, v in plan["services"].items()}
    ports = {k: resolve_port(v["port"], placement) for k, v in plan["services"].items()}
    secrets = run.path / "secrets" if config["security"]["services"] == "secured" and ports else None
    if config["services"]["where"] == "external":
        for name in ("nats", "etcd"):
            url = urlsplit(config["services"][name])
            hosts[name], ports[name] = url.hostname or "", url.port or 0
        keys = config["services"].get("keys")
        secrets = Path(keys) if keys else None
    frontends = [(by_index[f["node"]].address, resolve_port(f["port"], placement)) for f in _frontends(plan)]
    return Deployment(
        plan=plan,
        groups=tuple(groups),
        service_hosts=hosts,
        service_ports=ports,
        endpoints=tuple(f"http://{address}:{port}" for address, port in frontends),
        balancer=_balancer(plan, by_index[plan["frontend"]["node"]].address, placement),
        secrets=secrets,
    )


def _balancer(plan: dict[str, Any], address: str, placement: dict[str, Any]) -> str | None:
    frontend = plan["frontend"]
    return f"http://{address}:{resolve_port(frontend['port'], placement)}" if frontend.get("balanced") else None


def _frontends(plan: dict[str, Any]) -> list[dict[str, Any]]:
    frontend = plan["frontend"]
    found: list[dict[str, Any]] = frontend.get("replicas") or [frontend]
    return found


def etcd_client(deployment: Deployment, timeout: float = 5.0) -> Any:
    """A client of the job's etcd; raises pyetcd's exceptions."""
    from launcher.run.registry import connect

    host, port = deployment.service_hosts["etcd"], deployment.service_ports["etcd"]
    return connect(host, port, deployment.secrets, timeout)


def expected_workers(deployment: Deployment) -> list[Worker]:
    """The plan's workers as the request sweep knows them: by their request-plane address."""
    from warmup.requests import Worker

    known = deployment.health is None
    return [
        Worker("agg" if g.role == "aggregated" else g.role, g.name, address=g.rpc if known else None)
        for g in deployment.groups
    ]
