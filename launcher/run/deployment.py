"""Where a running job's workers, services and frontend are, from its run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from launcher.base.errors import WorkError
from launcher.run.folder import RunFolder, resolve_port
from launcher.run.jsonread import Port
from launcher.run.planned import Planned, PlannedGroup
from launcher.run.registry import connect

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

    plan: Planned
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
        settings = self.plan.settings
        return (settings.nats or "").startswith("tls:") if settings.external_services else settings.nats_tls

    @property
    def health(self) -> str | None:
        """Path of a worker's own health; None where workers register in etcd, empty where neither tells."""
        return self.plan.health

    @property
    def model(self) -> str:
        return self.plan.served_name


def read_deployment(run: RunFolder) -> Deployment:
    """Raises WorkError while the job has not got that far."""
    plan, placement = run.plan(), run.json("placement.json")
    addresses = {n.index: (n.host, n.address) for n in run.nodes()}
    if placement is None or not addresses:
        raise WorkError(f"{run.path.name} has no addresses yet: the job has not found its nodes")
    try:
        return deployment_of(plan, addresses, placement, run.path)
    except KeyError as e:
        raise WorkError(f"{run.path}/hosts has no address of node {e}: the job has not found its nodes") from None


def deployment_of(
    plan: Planned, addresses: Mapping[int, tuple[str, str]], placement: Mapping[str, Any], folder: Path
) -> Deployment:
    """`addresses` are (host name, address) by node index, `folder` is the run's. Raises KeyError for a node without."""

    def url(node: int, port: Port) -> str:
        return f"http://{addresses[node][1]}:{resolve_port(port, placement)}"

    def group(g: PlannedGroup) -> GroupAddress:
        host, address = addresses[g.nodes[0]]
        return GroupAddress(g.name, g.role, host, address, {k: resolve_port(v, placement) for k, v in g.ports.items()})

    hosts = {name: addresses[service.node][1] for name, service in plan.services.items()}
    ports = {name: resolve_port(service.port, placement) for name, service in plan.services.items()}
    settings = plan.settings
    secrets = folder / "secrets" if settings.secured and ports else None
    if settings.external_services:
        for name, given in (("nats", settings.nats), ("etcd", settings.etcd)):
            address = urlsplit(given or "")
            hosts[name], ports[name] = address.hostname or "", address.port or 0
        secrets = Path(settings.services_keys) if settings.services_keys else None
    front = plan.frontend
    return Deployment(
        plan=plan,
        groups=tuple(map(group, plan.groups)),
        service_hosts=hosts,
        service_ports=ports,
        endpoints=tuple(url(f.node, f.port) for f in front.replicas),
        balancer=url(front.node, front.port) if front.balanced else None,
        secrets=secrets,
    )


def etcd_client(deployment: Deployment, timeout: float = 5.0) -> Any:
    """A client of the job's etcd; raises pyetcd's exceptions."""
    host, port = deployment.service_hosts["etcd"], deployment.service_ports["etcd"]
    return connect(host, port, deployment.secrets, timeout)


def expected_workers(deployment: Deployment) -> list[Worker]:
    """The plan's workers as the request sweep knows them: by their request-plane address."""
    from warmup.requests import Worker

    roles = {"aggregated": "agg"}
    known = deployment.health is None
    return [Worker(roles.get(g.role, g.role), g.name, address=g.rpc if known else None) for g in deployment.groups]
