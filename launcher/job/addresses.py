"""Where everything of a job is: which node has which place, and the ports as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from launcher.base.errors import WorkError
from launcher.base.portnames import Offset
from launcher.engines import engine_for
from launcher.front.alone import socket_path
from launcher.front.files import Fronts, endpoint_url, write_configs
from launcher.front.keys import Keys
from launcher.front.routes import OPENAI
from launcher.job.facts import choose_ports, claims_of, gpus_of
from launcher.job.nodes import Nodes
from launcher.job.steps import Place
from launcher.plan.model import Plan
from launcher.plan.portcheck import fixed_ports
from launcher.plan.show import to_json
from launcher.run.deployment import Deployment, deployment_of
from launcher.run.folder import RunFolder
from launcher.run.planned import Planned
from launcher.run.targets import file_sd


class Addresses:
    """Known once the nodes have said their facts."""

    def __init__(self, plan: Plan, nodes: Nodes, run: RunFolder, job_id: str) -> None:
        self._plan, self._nodes, self._run, self._job_id = plan, nodes, run, job_id
        self.planned = Planned.read(to_json(plan))
        self._base = 0
        self.socket = socket_path(run.path, job_id) if plan.config.frontend.port == "unix" else None
        self.joined: dict[str, str] = {}  # NATS and etcd of the deployment that this job joins
        self.keys = Keys()  # the endpoint's, once they are made: no question may wait for their files

    async def choose(self, number: int) -> dict[str, str]:
        """Choose the job's block of ports, starting from `number`, and claim it on every node; returns the variables
        that every process gets. Raises WorkError when there is none."""
        places, plan = self._nodes.places, self._plan
        fixed = [(places[node].host, port, key) for node, port, key in fixed_ports(plan)]
        own = None if plan.config.ports.base == "auto" else int(plan.config.ports.base)
        refused: set[int] = set()
        while True:
            self._base = choose_ports(number, plan.port_block, own, self._nodes.listening(), fixed, refused)
            hosts = await self._nodes.claim(claims_of(self._base, plan.port_block))
            if not hosts:
                break
            if own is not None:
                raise WorkError(f"ports from {own} (ports.base) are another job's on {hosts[0]}; choose another base")
            refused.add(self._base)
        return {
            "PORT_BASE": str(self._base),
            "FRONTEND_ADDR": places[plan.head_node].address,
            "SERVICES_ADDR": places[plan.services_node].address,
            **self.ports(plan.service_ports),
        }

    def ports(self, ports: Mapping[str, Offset]) -> dict[str, str]:
        """<NAME>_PORT variables."""
        return {f"{name.upper()}_PORT": str(self._number(port)) for name, port in ports.items()}

    def places(self, nodes: Sequence[int], gpus: Sequence[Sequence[int]] = ()) -> list[Place]:
        """Nodes of the plan as they are now, each with the GPUs at these positions; without positions, with all.
        Raises WorkError for a position that a node does not have."""
        found = [self._nodes.places[node] for node in nodes]
        if any(gpus):
            return [replace(p, gpus=gpus_of(p.host, p.gpus, g)) for p, g in zip(found, gpus, strict=True)]
        return [replace(place, gpus="all") for place in found]

    def worker_variables(self) -> dict[str, str]:
        """Where the router finds the head of each worker, if its command names them."""
        found = {}
        for group in self._plan.named_groups:
            prefix = group.worker.prefix
            found[f"{prefix}_ADDR"] = self._nodes.places[group.ranks[0].node].address
            found |= {f"{prefix}_{name}": port for name, port in self.ports(group.ports).items()}
        return found

    def component(self, places: Sequence[Place]) -> int | None:
        """Of a heterogeneous job, the component that these are of."""
        if not self._plan.heterogeneous:
            return None
        host = places[0].host
        return self._plan.component_of(next(n for n, p in enumerate(self._nodes.places) if p.host == host))

    @property
    def deployment(self) -> Deployment:
        """Where everything is now: a group may have moved to a spare node."""
        addresses = {index: (place.host, place.address) for index, place in enumerate(self._nodes.places)}
        return deployment_of(self.planned, addresses, self._placement(), self._run.path, self.keys)

    def write_front(self) -> None:
        """The front's configs, into the folder of secrets."""
        plan, config = self._plan, self._plan.config
        fronts = Fronts(
            names=tuple(front.name for front in plan.fronts),
            addresses=tuple(place.address for place in self.places([front.node for front in plan.fronts])),
            port=self._number(plan.service_ports["front"]),
            frontends=tuple(self._number(f.ports["frontend"]) for f in plan.frontends),
            gate=self._number(gate) if (gate := plan.fronts[0].gate) else None,
            socket=self.socket,
        )
        routes = getattr(engine_for(config), "routes", OPENAI)
        secrets = self._run.path / "secrets"
        told = config.service.until is not None
        write_configs(fronts, config.security, routes, secrets, self.keys, config.timeouts.drain, told)

    def write(self) -> None:
        """The files hosts, placement.json and targets.json."""
        lines = [f"{n} {p.host} {p.address} {p.interface}\n" for n, p in enumerate(self._nodes.places)]
        new = self._run.path / "hosts.new"
        new.write_text("".join(lines), encoding="utf-8")
        new.replace(self._run.path / "hosts")
        self._run.write_json("placement.json", self._placement())
        if not self._plan.only_kernels:
            self._run.write_json("targets.json", file_sd(self.deployment, self._job_id))

    def _placement(self) -> dict[str, object]:
        plan = self._plan
        place = self._nodes.places[plan.fronts[0].node if plan.fronts else plan.head_node]
        tls = plan.config.security.tls
        url = endpoint_url(tls, place.host, place.address, self._number(plan.service_ports["front"]))
        ca = {"ca": str(self._run.path / "secrets" / "ca.pem")} if tls == "job" else {}
        own = {"socket": self.socket} if self.socket else {}
        return {"job_id": self._job_id, "port_base": self._base, "endpoint": url, **self.joined, **ca, **own}

    def _number(self, port: Offset) -> int:
        return port.fixed if port.fixed is not None else self._base + port.offset
