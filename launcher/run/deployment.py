"""Where a running job's workers, services and frontend are, from its run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from launcher.base.errors import WorkError
from launcher.front.caddy import DIRECT
from launcher.front.keys import NO_KEYS, Keys, read_keys
from launcher.run.folder import RunFolder, resolve_port
from launcher.run.planned import Planned, PlannedGroup
from launcher.run.registry import connect
from launcher.run.state import enter_network

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
    endpoint: str
    """Where clients go."""
    endpoints: tuple[str, ...]
    """Where each frontend is reached by itself: with the admin key, if that is not the endpoint."""
    secrets: Path | None
    """The folder with the keys of NATS and etcd, if they ask for some."""
    keys: Keys = NO_KEYS
    ca: str | None = None
    """File of the authority that vouches for the endpoint, if it is the job's own."""

    def key_at(self, endpoint: str) -> str | None:
        """The key that the endpoint, or a single frontend's address, asks for."""
        return self.keys.endpoint if endpoint == self.endpoint else self.keys.admin

    @property
    def nats_tls(self) -> bool:
        """Whether NATS asks for a certificate."""
        settings = self.plan.settings
        return settings.nats.startswith("tls:") if settings.nats else settings.nats_tls

    @property
    def health(self) -> str | None:
        """Path of a worker's own health; None where workers register in etcd, empty where neither tells."""
        return self.plan.health

    @property
    def model(self) -> str:
        return self.plan.served_name


def read_deployment(run: RunFolder, plan: Planned | None = None) -> Deployment:
    """`plan` is the run's, if it was read already. Raises WorkError while the job has not got that far."""
    plan, placement = plan or run.plan(), run.json("placement.json")
    if placement is not None and placement.get("socket"):
        enter_network(run)
    addresses = {n.index: (n.host, n.address) for n in run.nodes()}
    if placement is None or not addresses:
        raise WorkError(f"{run.path.name} has no addresses yet: the job has not found its nodes")
    try:
        return deployment_of(plan, addresses, placement, run.path, read_keys(run.path / "secrets"))
    except KeyError as e:
        raise WorkError(f"{run.path}/hosts has no address of node {e}: the job has not found its nodes") from None


def deployment_of(
    plan: Planned, addresses: Mapping[int, tuple[str, str]], placement: Mapping[str, Any], folder: Path,
    keys: Keys = NO_KEYS,
) -> Deployment:  # fmt: skip
    """`addresses` are (host name, address) by node index, `folder` is the run's. Raises KeyError for a node without."""

    def group(g: PlannedGroup) -> GroupAddress:
        host, address = addresses[g.nodes[0]]
        return GroupAddress(g.name, g.role, host, address, {k: resolve_port(v, placement) for k, v in g.ports.items()})

    hosts = {name: addresses[service.node][1] for name, service in plan.services.items()}
    ports = {name: resolve_port(service.port, placement) for name, service in plan.services.items()}
    settings = plan.settings
    secrets = folder / "secrets" if settings.secured and ports else None
    if settings.external_services:
        for name, given in (("nats", settings.nats), ("etcd", settings.etcd)):
            address = urlsplit(given or placement.get(name, ""))
            hosts[name], ports[name] = address.hostname or "", address.port or 0
        secrets = Path(settings.services_keys) if settings.services_keys else None
    front = plan.frontend
    endpoint = placement.get("endpoint")
    if not isinstance(endpoint, str):
        endpoint = f"http://{addresses[front.node][1]}:{resolve_port(front.port, placement)}"
    several = range(len(front.replicas)) if len(front.replicas) > 1 else ()
    return Deployment(
        plan=plan,
        groups=tuple(map(group, plan.groups)),
        service_hosts=hosts,
        service_ports=ports,
        endpoint=endpoint,
        endpoints=tuple(endpoint + DIRECT.format(turn) for turn in several) or (endpoint,),
        secrets=secrets,
        keys=keys,
        ca=placement.get("ca"),
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
