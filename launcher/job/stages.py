"""The stages of a job in order, from its nodes to serving. What they start keeps itself running (launcher.job.part)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from launcher.base.errors import WorkError
from launcher.base.portnames import Offset
from launcher.front.files import find_caddy
from launcher.job import environment
from launcher.job.child import Child
from launcher.job.context import Ending, Job
from launcher.job.facts import stream_interface
from launcher.job.liveness import watch
from launcher.job.lost import GRACE, watch_registrations
from launcher.job.part import Part
from launcher.job.ready import prove_at, wait_for_answer, wait_until_ready
from launcher.job.rejoin import bring_back, take_off
from launcher.job.services import wait_for_services
from launcher.job.warm import sweep_all
from launcher.kernels import stage as kernels
from launcher.plan.model import Frontend, Group
from launcher.report import gauges
from launcher.scale.joined import services_of

# Seconds after which it is known that a part has ended: srun ends within steps.ALONE of its first task, etcd's watch
# looks every second and waits for GRACE. A sweep that failed may have met one that nobody knows of yet.
NOTICED = GRACE + 2.0


class Failed(WorkError):
    """A stage that is not the current one failed."""

    def __init__(self, stage: str, why: str) -> None:
        self.stage = stage
        super().__init__(why)


class Stages:
    """The stages of one job."""

    def __init__(self, job: Job) -> None:
        self.job, self.plan, self.config, self.run = job, job.plan, job.plan.config, job.run
        self.journal, self.nodes, self.addresses = job.journal, job.nodes, job.addresses

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self._go_on()
        self.journal.begin(name)
        yield
        self._go_on()
        self.journal.event(name, "done")

    def _go_on(self) -> None:
        """Not once the job's end is settled, even if the cancellation was lost on its way (asyncio.wait_for can lose
        one until Python 3.12)."""
        if self.job.ending.done():
            raise asyncio.CancelledError

    async def run_all(self) -> None:
        plan, config = self.plan, self.config
        if plan.fronts:
            find_caddy(self.job.steps.base.get("PATH", os.defpath))
        soon = asyncio.create_task(asyncio.to_thread(_import_heavy))
        with self._stage("nodes"):
            await self._find_nodes()
        if config.preflight and not plan.only_kernels:
            with self._stage("preflight"):
                await self._preflight()
        ready_within = config.timeouts.ready
        if config.keeps_caches:
            with self._stage("kernels"):
                prepared = await kernels.prepare_all(self.job, self.run)
            self.job.share(prepared.variables)
            ready_within += 0 if "ready" in config.timeouts.model_fields_set else prepared.compile_s
        if plan.only_kernels:
            return
        figures = gauges.keep(self.run, self.journal.events, self.nodes.gpus, self.plan.groups, self.job.places)
        self._figures = asyncio.create_task(figures, name="figures")
        if plan.fronts:
            with self._stage("keys"):
                await asyncio.to_thread(self._make_keys)
        services = self._start_services(soon)
        with self._stage("workers"):
            for group in plan.groups:
                self._start_worker(group)
                await asyncio.sleep(0)  # hundreds take seconds: signals, and signs of life to the agents, in between
        with self._stage("frontend"):
            self._start_frontends()
        if config.service.joins:
            joins = asyncio.create_task(self._keep_beside("launcher.scale.piece"), name="joins")
            self.job.ending.add_done_callback(lambda _: joins.cancel())
        await services
        await soon
        with self._stage("ready"):
            await wait_until_ready(self.addresses.deployment, ready_within, self.journal)
            deployment = self.addresses.deployment
            found = {"url": deployment.endpoint, "model": deployment.model, "ca": deployment.ca}
            found |= {"socket": self.addresses.socket} if self.addresses.socket else {}
            self.run.write_json("endpoint.json", found)
        for part in self.job.parts.values():
            part.in_service.set()
        self.job.phase = "serving"
        parts = list(self.job.parts.values())
        watches = [asyncio.create_task(watch(parts, lambda: self.addresses.deployment), name="liveness")]
        if self.addresses.deployment.health is None:
            watch_all = watch_registrations(lambda: self.addresses.deployment, self._worker_lost)
            watches.append(asyncio.create_task(watch_all, name="registrations"))
        try:
            if config.warmup.requests.enabled:
                await self._warm()
            if config.keeps_caches:
                await kernels.pack_back(self.job, self.nodes.compilers)
            self.journal.begin("serve")
            self.journal.say(f"serving at {self.addresses.socket or self.addresses.deployment.endpoint}")
            if config.service.until:
                await self._keep_beside("launcher.service.link")
            await asyncio.get_running_loop().create_future()
        finally:
            for task in watches:
                task.cancel()

    async def _keep_beside(self, module: str) -> None:
        """A process beside this one; where it ends well, this job's part is done."""
        words = [sys.executable, "-m", module, str(self.run.path)]
        while True:
            child = Child(words, dict(os.environ), lambda data: self.journal.say(data.decode(errors="replace").strip()))
            try:
                if await child.ended == 0:
                    return self.job.settle(Ending(0, self.config.timeouts.drain))
            finally:
                child.signal(15)
                child.close()
            await asyncio.sleep(5)

    async def _find_nodes(self) -> None:
        try:
            await self.nodes.find(self.config.timeouts.services)
        except WorkError:
            if self.plan.cluster == "slurm":
                await self.job.is_ending(2.0)  # the agents end first when the job is cancelled: its own TERM is near
            raise
        for host in self.nodes.left_out:
            self.journal.event("nodes", "left-out", host)
            self.journal.say(f"{host} did not answer and is left out")
        local = self.plan.cluster == "local"  # jobs of two run folders may have the same number
        number = os.getpid() if local else int("".join(filter(str.isdigit, self.job.job_id)) or 0)
        self.job.share(await self.addresses.choose(number))
        own = [name for place in self.nodes.places for name in (place.address, place.host)]
        proxies = environment.without_proxy(os.environ, own)
        os.environ.update(proxies)  # this process's own clients too
        self.job.share(proxies)
        if self.config.service.joins:
            self.addresses.joined = await services_of(self.config.service.joins, self.config.timeouts.ready)
            self.job.share({f"JOINED_{name.upper()}": url for name, url in self.addresses.joined.items()})
        self.addresses.write()

    async def _preflight(self) -> None:
        words = [sys.executable, "-m", "launcher.cli", "job", "preflight", str(self.run.path)]
        said = ["it said nothing"]

        def output(data: bytes) -> None:
            for line in data.decode(errors="replace").splitlines():
                said.append(line.strip() or said[-1])
                self.journal.say(line)

        child = Child(words, dict(os.environ), output, group=True)
        try:
            code = await child.ended
        finally:
            child.signal(15)
            child.close()
        if code:
            why = said[-1].removeprefix("sgl-launch: ")
            raise WorkError(f"{why}; see {self.run.path}/preflight.txt")

    def _make_keys(self) -> None:
        from launcher.front.keys import make_keys, service_folder
        from launcher.job.keys import make_certificates

        deployment, security, secrets = self.addresses.deployment, self.config.security, self.run.path / "secrets"
        shared = service_folder(self.run.path.parent, self.config.name) if self.config.service.until else None
        self.addresses.keys = make_keys(secrets, security.endpoint == "key", shared, self.config.engine == "sglang")
        self.job.logs.hidden = (self.addresses.keys.worker or "").encode()
        if deployment.secrets == secrets or security.tls == "job" or self.plan.fronts[0].gate:
            places = self.addresses.places([front.node for front in self.plan.fronts])
            names = [*deployment.service_hosts.values(), *(name for p in places for name in (p.address, p.host))]
            if security.request_plane == "tls":
                # each worker is a server of it
                names += [place.address for place in self.nodes.places]
            make_certificates(secrets, names, security.nats_tls)
        self.addresses.write_front()

    def _start_services(self, clients: Awaitable[None]) -> Awaitable[None]:
        """Start NATS and etcd; workers need not wait for them, since they ask again until they answer. `clients` is the
        import of what asks them."""
        if not self.plan.services:
            return asyncio.sleep(0)
        self.journal.begin("services")
        for name in self.plan.services:
            node = (self.plan.services_node,)
            self._start(Part(self.job, name, "service", name, node, (), dict, None, self._services_answer))

        async def ready() -> None:
            await clients
            await self._services_answer()
            self._go_on()
            self.journal.event("services", "done")

        return asyncio.create_task(ready(), name="services")

    async def _services_answer(self, part: Part | None = None) -> None:
        def answered(name: str, seconds: float) -> None:
            self._go_on()
            deployment = self.addresses.deployment
            where = f"{deployment.service_hosts[name]}:{deployment.service_ports[name]}"
            self.journal.event(name, "ready")
            self.journal.say(f"{name} answers at {where} ({seconds:.1f} s)")

        try:
            names = [part.name] if part else list(self.plan.services)  # the other one may hang
            await wait_for_services(self.addresses.deployment, self.config.timeouts.services, answered, names)
        except WorkError as e:
            raise Failed("services", f"{e}; see {self.run.path}/logs") from None

    def _start_worker(self, group: Group) -> None:
        ports = self.addresses.ports(group.ports)
        spare = self.plan.spare_nodes
        self._start(
            Part(
                self.job, group.name, "worker", group.role, group.nodes, tuple(r.gpus for r in group.ranks),
                lambda: ports, self._move if spare else None, self._worker_back, self._worker_gone,
            )
        )  # fmt: skip

    def _start_frontends(self) -> None:
        for frontend in self.plan.frontends if self.plan.frontend.argv else ():
            own = {**self.addresses.ports(frontend.ports), **self._answers_come_to(frontend)}
            part = Part(
                self.job, frontend.name, "frontend", "frontend", (frontend.node,), (),
                lambda own=own: {**own, **self.addresses.worker_variables()}, None, self._frontend_back,  # type: ignore[misc]
            )  # fmt: skip
            self._start(part)
        for front in self.plan.fronts:
            self._start(Part(self.job, front.name, "front", "front", (front.node,), (), dict, None, self._front_back))
        if self.config.security.endpoint_keys:
            node = self.plan.fronts[0].node
            self._start(Part(self.job, "named-keys", "front", "named_keys", (node,), (), dict))

    def _answers_come_to(self, frontend: Frontend) -> dict[str, str]:
        """Where Dynamo's frontend takes workers' answers; one that isn't told listens at the default route's address.
        Only the mocker's version is known here: others may run in an image."""
        from importlib.metadata import distributions

        versions = [d.version for d in distributions(name="ai-dynamo-runtime") if self.config.engine == "mocker"]
        facts, chosen = self.nodes.facts(frontend.node), self.nodes.places[frontend.node].interface
        interface = stream_interface(facts, chosen, "".join(versions[:1]))
        if not interface and chosen not in facts.routes and self.config.engine in ("dynamo", "mocker"):
            self.journal.say(
                f"answers go over the default route, not over {chosen}: it has an IPv6 address too, where one before "
                f"1.6 can't listen. With 1.6 or newer, set frontend.env.DYN_TCP_RESPONSE_STREAM_HOST to {chosen}"
            )
        host = {"DYN_TCP_RESPONSE_STREAM_HOST": interface} if interface else {}
        second = Offset(frontend.ports["frontend"].offset + 1)  # its own too: launcher.plan.ports
        return {"DYN_TCP_RESPONSE_STREAM_PORT": self.addresses.ports({"answers": second})["ANSWERS_PORT"], **host}

    def _start(self, part: Part) -> None:
        self._go_on()
        self.job.parts[part.name] = part
        part.start()

    async def _warm(self) -> None:
        """The sweep; begun anew when a part was lost meanwhile, since it must meet the new one too."""
        wish = self.config.warmup.requests
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wish.timeout
        self.journal.begin("warm")
        while True:
            await self._all_in_service()
            restarts = sum(part.restarts for part in self.job.parts.values())
            report = await sweep_all(self.addresses.deployment, max(deadline - loop.time(), 1.0), self.journal)
            if not report.verdict.warm:
                await asyncio.sleep(NOTICED)
            await self._all_in_service()
            if restarts == sum(part.restarts for part in self.job.parts.values()) or loop.time() > deadline:
                break
            self.journal.say("a part was started again during the sweep: it begins anew")
        self.run.write_json("warmup.json", report.to_dict())
        if report.verdict.warm:
            self.journal.event("warm", "done")
            return
        why = "; ".join([str(report.verdict.state), *report.verdict.reasons])
        if wish.required:
            raise WorkError(f"the warm-up did not end warm: {why}; see {self.run.path}/warmup.json")
        self.journal.event("warm", "not warm", f"{why}; see {self.run.path}/warmup.json")
        self.journal.say(f"the warm-up did not end warm ({why}); serving anyway")

    async def _all_in_service(self) -> None:
        for part in self.job.parts.values():
            if part.kind != "front":
                await part.in_service.wait()

    # --- parts that come back, move, or are lost ---------------------------------------------------------------------

    async def _worker_back(self, part: Part) -> None:
        warm = self.run if self.config.warmup.requests.enabled and self.journal.stage == "serve" else None
        await bring_back(self.addresses.deployment, part.name, self.config.timeouts.ready, self.journal, warm)

    async def _worker_gone(self, part: Part) -> None:
        if self.addresses.deployment.health is None:
            await take_off(self.addresses.deployment, part.name, self.journal)

    async def _frontend_back(self, part: Part) -> None:
        number = next(n for n, f in enumerate(self.plan.frontends) if f.name == part.name)
        deployment = self.addresses.deployment
        await prove_at(deployment.endpoints[number], deployment, [], self.config.timeouts.ready)
        self.journal.event(part.name, "ready")
        self.journal.say(f"{part.name} answers again")

    async def _front_back(self, part: Part) -> None:
        await wait_for_answer(self.addresses.deployment, self.config.timeouts.services)
        self.journal.event(part.name, "ready")
        self.journal.say(f"{part.name} answers again")

    async def _move(self, part: Part) -> None:
        """Before a restart: a spare node in the place of each that does not answer."""
        for old, new in await self.nodes.replace(part.nodes):
            self.journal.event(part.name, "moved", f"from {old} to {new}")
            self.journal.say(f"{old} does not answer; {new} takes its place")
            self.journal.later(self.addresses.write)

    def _worker_lost(self, name: str, host: str) -> None:
        part = self.job.parts[name]
        if part.in_service.is_set():
            part.lost(f"not in etcd any more; rank 0 was on {host}")


def _import_heavy() -> None:
    """While the nodes answer and the workers start."""
    import cryptography.x509  # noqa: F401, I001 - the keys are made with it before all else
    import aiohttp  # noqa: F401
    import nats  # noqa: F401
    import pyetcd  # noqa: F401

    import warmup.requests  # noqa: F401
