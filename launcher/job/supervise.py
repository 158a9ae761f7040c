"""`sgl-launch job run`: the stages of a job in order, and what ends it.

One asyncio process. Stages start the parts (launcher.job.part), which keep themselves running; whatever ends the job
(a part, a signal, a stage that fails) settles `_ending`, and then all is stopped (launcher.job.stop).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher.base.errors import WorkError
from launcher.base.words import shown
from launcher.containers import container_command
from launcher.engines import Worker
from launcher.job import environment, kernels
from launcher.job.child import Child, run_program
from launcher.job.facts import choose_ports, gpus_of
from launcher.job.journal import Journal
from launcher.job.logs import Logs
from launcher.job.lost import watch_registrations
from launcher.job.nodes import Nodes
from launcher.job.part import Part
from launcher.job.policy import Action, Phase
from launcher.job.ready import prove_at, wait_until_ready
from launcher.job.rejoin import bring_back
from launcher.job.services import NATS_USER, wait_for_services
from launcher.job.steps import Ended, LocalSteps, Place, SlurmSteps, Step, Steps
from launcher.job.stop import stop_all
from launcher.job.warm import sweep_all
from launcher.plan.model import Group, Plan
from launcher.plan.portcheck import fixed_ports
from launcher.plan.show import to_json
from launcher.run.deployment import Deployment, deployment_of
from launcher.run.folder import RunFolder
from launcher.run.planned import Planned

TIDY = 3.0  # seconds for the agents to remove scratch folders and containers


@dataclass(frozen=True)
class Ending:
    """Why the job ends: its exit status, seconds for running requests, and the host to leave out of another try."""

    code: int
    drain: float = 0.0
    requeue_without: str | None = None


class Failed(WorkError):
    """A stage that is not the current one failed."""

    def __init__(self, stage: str, why: str) -> None:
        self.stage = stage
        super().__init__(why)


class Supervisor:
    """One run of one plan; implements launcher.job.part.Job."""

    def __init__(self, plan: Plan, run: RunFolder, job_id: str, journal: Journal) -> None:
        self.plan, self.run, self.journal, self._job_id = plan, run, journal, job_id
        self.config = plan.config
        self.phase: Phase = "starting"
        self.planned = Planned.read(to_json(plan))
        ranks = sum(len(g.ranks) for g in plan.groups)
        self.logs = Logs(run.path / "logs", ranks + 2 * len(plan.groups) + 8)
        self.parts: dict[str, Part] = {}
        self._helpers: dict[str, Step] = {}
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._hurry = asyncio.Event()
        self._port_base = 0
        self._env = environment.base_env(os.environ, self.config.env_from)
        python = Path(sys.executable)
        scratch = f"sgl-launch-{job_id}-{os.urandom(6).hex()}"
        self._env |= {
            "RUN": str(run.path), "JOB_ID": job_id, "LAUNCH_RUN": str(run.path), "LAUNCH_JOB": job_id,
            "LAUNCH_PYTHON": str(python), "SCRATCH_NAME": scratch,
            # the programs that were installed with sgl-launch (nats-server, etcd), after the site's own
            "PATH": f"{os.environ.get('PATH', os.defpath)}:{python.parent}",
        }
        container = container_command(self.config.container)
        parts = "|".join(dict.fromkeys(role.command.part for role in plan.roles if role.command.part))
        agent = [job_id, str(run.path), scratch, parts, container.sweep.replace("$JOB_ID", job_id)]
        self.nodes = Nodes(plan, self._env, agent, self._engine_processes)
        options = [shown(word, {"RUN": str(run.path)}) for word in container.srun_options]
        script = run.path / "job.sh"
        self.steps: Steps
        if plan.cluster == "local":
            self.steps = LocalSteps(script, self._env, self.logs, self._note_process)
        else:
            self.steps = SlurmSteps(script, self._env, self.logs, self.nodes.tell, options, self._component)

    # --- the whole ---------------------------------------------------------------------------------------------------

    async def supervise(self) -> int:
        """Run all stages and the end; returns the job's exit status."""
        stages = asyncio.create_task(self._stages(), name="stages")
        waits: list[asyncio.Future[Any]] = [stages, self._ending]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not self._ending.done():
            self._settle(Ending(self._stages_ended(stages)))
        ending = self._ending.result()
        self.phase = "stopping"
        stages.cancel()
        self.journal.event("stop", "started", f"exit status {ending.code}")
        self.journal.later(lambda: (self.run.path / "endpoint.json").unlink(missing_ok=True))
        await stop_all(
            list(self.parts.values()), list(self._helpers.values()), self.config.timeouts.stop, ending.drain,
            self._hurry, self.journal,
        )  # fmt: skip
        await self.nodes.end(TIDY)
        self.journal.later(lambda: shutil.rmtree(self.run.path / "secrets", ignore_errors=True))
        self.logs.close(1.0)
        if ending.requeue_without is not None:
            await self._requeue(ending.requeue_without)
        return ending.code

    def _stages_ended(self, stages: asyncio.Task[None]) -> int:
        """The stages ended by themselves: the exit status."""
        error = stages.exception()
        if error is None:
            return 0
        stage = error.stage if isinstance(error, Failed) else self.journal.stage
        why = str(error) if isinstance(error, WorkError) else _mistake(error)
        self.journal.fail(stage, why)
        return 1

    def signalled(self, name: str) -> None:
        """TERM and INT end the job; USR2 says that its time is nearly over: running requests may finish."""
        if self._ending.done():
            if name != "USR2":
                self._hurry.set()  # whoever asks again does not want to wait for running requests
            return
        if name == "USR2" and self.phase == "serving":
            drain = self.config.timeouts.drain
            self.journal.say(f"SIGUSR2: draining for at most {drain:g} s")
            self.journal.event(self.journal.stage, "drained", "SIGUSR2")
            self.journal.failure = "drained before its time was over"
            self._settle(Ending(0, drain))
        elif name == "USR2":
            self.journal.fail(self.journal.stage, "SIGUSR2: its time is nearly over, and it has not served yet")
            self._settle(Ending(1))
        else:
            self.journal.event(self.journal.stage, "cancelled", f"SIG{name}")
            self.journal.say(f"SIG{name}: stopping")
            self.journal.failure = f"ended by SIG{name}"
            self._settle(Ending(130 if name == "INT" else 143))

    def end(self, part: Part, ended: Ended, action: Action) -> None:
        """A part has ended for good: so does the job."""
        if self._ending.done():
            return
        host = ended.host or (part.step and " ".join(p.host for p in self.places(part.nodes))) or "?"
        log = self.run.path / "logs" / f"{part.name}-{ended.rank or 0}.log"
        if tail := self.logs.tail(log.name):
            self.journal.say(f"last lines of {log}:\n" + "\n".join(tail))
        if ended.said:
            self.journal.say(f"srun of {part.name} said: {ended.said}")
        rank = "" if ended.rank is None else f" (rank {ended.rank})"
        how = f"ended with exit status {ended.status} on {host}; its log: {log}"
        self.journal.fail(self.journal.stage, f"{part.name}{rank} {how}")
        self._settle(Ending(ended.status or 1, requeue_without=host.split()[0] if action == "requeue" else None))

    async def is_ending(self, seconds: float) -> bool:
        """Whether the job ends within so many seconds from now."""
        await asyncio.wait([self._ending], timeout=seconds)
        return self._ending.done()

    def _settle(self, ending: Ending) -> None:
        if not self._ending.done():
            self._ending.set_result(ending)

    # --- stages ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.journal.begin(name)
        yield
        self.journal.event(name, "done")

    async def _stages(self) -> None:
        plan, config = self.plan, self.config
        soon = asyncio.create_task(asyncio.to_thread(_import_heavy))
        with self._stage("nodes"):
            await self._find_nodes()
        if config.preflight and not plan.only_kernels:
            with self._stage("preflight"):
                await self._preflight()
        if config.warmup.kernels.cache_dir:
            with self._stage("kernels"):
                await self._kernels()
        if plan.only_kernels:
            return
        await soon
        if self.deployment.secrets == self.run.path / "secrets":
            with self._stage("keys"):
                await asyncio.to_thread(self._make_keys)
        services = self._start_services()
        with self._stage("workers"):
            for group in plan.groups:
                self._start_worker(group)
        if plan.frontend.argv:
            with self._stage("frontend"):
                self._start_frontends()
        await services
        with self._stage("ready"):
            await wait_until_ready(self.deployment, config.timeouts.ready, self.journal)
            deployment = self.deployment
            endpoint = {"url": deployment.endpoint, "urls": list(deployment.endpoints), "model": deployment.model}
            self.run.write_json("endpoint.json", endpoint)
        for part in self.parts.values():
            part.in_service.set()
        self.phase = "serving"
        watch = asyncio.create_task(self._watch_registrations())
        try:
            if config.warmup.requests.enabled:
                await self._warm()
            if config.warmup.kernels.cache_dir:
                await self._merge_kernels()
            self.journal.begin("serve")
            self.journal.say(f"serving at {self.deployment.endpoint}")
            await asyncio.get_running_loop().create_future()
        finally:
            watch.cancel()

    async def _find_nodes(self) -> None:
        await self.nodes.find(self.config.timeouts.services)
        for host in self.nodes.left_out:
            self.journal.event("nodes", "left-out", host)
            self.journal.say(f"{host} did not answer and is left out")
        places = self.nodes.places
        fixed = [(places[node].host, port, key) for node, port, key in fixed_ports(self.plan)]
        base = None if self.config.ports.base == "auto" else int(self.config.ports.base)
        number = os.getpid() if self.plan.cluster == "local" else int("".join(filter(str.isdigit, self._job_id)) or 0)
        self._port_base = choose_ports(number, self.plan.port_block, base, self.nodes.listening(), fixed)
        own = [p.address for p in places] + [p.host for p in places]
        proxies = environment.without_proxy(os.environ, own)
        os.environ.update(proxies)  # this process's own clients too
        self._env |= proxies
        self._env |= {"PORT_BASE": str(self._port_base), "FRONTEND_ADDR": places[self.plan.head_node].address}
        self._env |= {"SERVICES_ADDR": places[self.plan.services_node].address, **self._ports(self.plan.service_ports)}
        self.steps.base.update(self._env)
        self._write_hosts()
        self.run.write_json("placement.json", self._placement())

    async def _preflight(self) -> None:
        words = [sys.executable, "-m", "launcher.cli", "job", "preflight", str(self.run.path)]
        said: list[bytes] = []

        def output(data: bytes) -> None:
            said.append(data)
            for line in data.decode(errors="replace").splitlines():
                self.journal.say(line)

        child = Child(words, dict(os.environ), output, group=True)
        try:
            code = await child.ended
        finally:
            child.signal(15)
            child.close()
        if code:
            last = b"".join(said).decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            why = last[0].removeprefix("sgl-launch: ")
            raise WorkError(f"preflight failed: {why}; see {self.run.path}/preflight.txt")

    async def _kernels(self) -> None:
        """Unpack the archive that fits, or build it on a first node of each kind; then unpack it on all others."""
        wish = self.config.warmup.kernels
        try:
            self._env |= await asyncio.to_thread(kernels.prepare, self.run, self.planned)
            for suffix, first, others in kernels.kernel_nodes(self.plan):
                await self._kernel_step("ensure", f"kernels-head{suffix}", [first])
                if others:
                    await self._kernel_step("unpack", f"kernels-all{suffix}", others)
        except WorkError as e:
            if wish.required or self.plan.only_kernels:
                raise WorkError(f"the kernels could not be prepared: {e}") from None
            self.journal.say(f"the kernels could not be prepared ({e}): the workers will compile them")
            return
        # nothing is left to compile: SGLang need not look for it shape by shape
        self._env["SGLANG_JIT_DEEPGEMM_PRECOMPILE"] = "0"
        self.steps.base.update(self._env)

    async def _merge_kernels(self) -> None:
        """What the first worker of each role compiled beyond the archive is kept for the next job."""
        for node in sorted({role.groups[0].ranks[0].node for role in self.plan.roles}):
            try:
                await self._kernel_step("merge-back", f"kernels-merge-{node}", [node])
            except WorkError as e:
                self.journal.say(f"new kernels of node {node} were not kept: {e}")

    async def _kernel_step(self, do: str, name: str, nodes: Sequence[int]) -> None:
        step = self.steps.start(name, "kernels", self.places(nodes), {**self._env, "KERNELS_DO": do})
        self._helpers[name] = step
        ended = await asyncio.shield(step.ended)
        del self._helpers[name]
        if ended.status:
            log = f"{name}-{ended.rank or 0}.log"
            said = " ".join(self.logs.tail(log)[-2:]) or ended.said
            raise WorkError(f"{name} ended with exit status {ended.status}: {said} (log {self.run.path}/logs/{log})")

    def _make_keys(self) -> None:
        from launcher.job.keys import make_keys

        deployment, security = self.deployment, self.config.security
        addresses = list(deployment.service_hosts.values())
        if security.request_plane == "tls":
            # each worker is a server of it
            addresses += [place.address for place in self.nodes.places]
        make_keys(self.run.path / "secrets", addresses, NATS_USER, security.nats_tls)

    def _start_services(self) -> Awaitable[None]:
        """Start NATS and etcd; workers need not wait for them, since they ask again until they answer."""
        if not self.plan.services:
            return asyncio.sleep(0)
        self.journal.begin("services")
        for name in self.plan.services:
            node = (self.plan.services_node,)
            self._start(Part(self, name, "service", name, node, (), dict, None, self._service_back))
        return asyncio.create_task(self._services_answer(), name="services")

    async def _services_answer(self) -> None:
        def answered(name: str, seconds: float) -> None:
            deployment = self.deployment
            where = f"{deployment.service_hosts[name]}:{deployment.service_ports[name]}"
            self.journal.event(name, "ready")
            self.journal.say(f"{name} answers at {where} ({seconds:.1f} s)")

        try:
            await wait_for_services(self.deployment, self.config.timeouts.services, answered)
        except WorkError as e:
            raise Failed("services", f"{e}; see {self.run.path}/logs") from None
        self.journal.event("services", "done")

    def _start_worker(self, group: Group) -> None:
        ports = self._ports(group.ports)
        spare = self.plan.spare_nodes
        self._start(
            Part(
                self, group.name, "worker", group.role, group.nodes, tuple(r.gpus for r in group.ranks), lambda: ports,
                self._move if spare else None, self._worker_back,
            )
        )  # fmt: skip

    def _start_frontends(self) -> None:
        for frontend in self.plan.frontends:
            ports = self._ports(frontend.ports)
            part = Part(
                self, frontend.name, "frontend", "frontend", (frontend.node,), (),
                lambda ports=ports: {**ports, **self._worker_addresses()}, None, self._frontend_back,  # type: ignore[misc]
            )  # fmt: skip
            self._start(part)
        if self.plan.balancer:
            self._start(Part(self, "balancer", "balancer", "balancer", (self.plan.balancer.node,), (), dict))

    def _start(self, part: Part) -> None:
        self.parts[part.name] = part
        part.start()

    async def _warm(self) -> None:
        """The sweep; begun anew when a part was lost meanwhile, since it must meet the new one too."""
        wish = self.config.warmup.requests
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wish.timeout
        self.journal.begin("warm")
        while True:
            await self._all_in_service()
            restarts = sum(part.restarts for part in self.parts.values())
            report = await sweep_all(self.deployment, max(deadline - loop.time(), 1.0), self.journal)
            await self._all_in_service()
            if restarts == sum(part.restarts for part in self.parts.values()) or loop.time() > deadline:
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
        for part in self.parts.values():
            if part.kind != "balancer":
                await part.in_service.wait()

    # --- parts that come back, move, or are lost ---------------------------------------------------------------------

    async def _worker_back(self, part: Part) -> None:
        warm = self.config.warmup.requests.enabled and self.journal.stage == "serve"
        await bring_back(self.deployment, part.name, self.config.timeouts.ready, self.journal, warm)

    async def _frontend_back(self, part: Part) -> None:
        number = next(n for n, f in enumerate(self.plan.frontends) if f.name == part.name)
        await prove_at(self.deployment.endpoints[number], self.deployment, [], self.config.timeouts.ready)
        self.journal.event(part.name, "ready")
        self.journal.say(f"{part.name} answers again")

    async def _service_back(self, part: Part) -> None:
        await self._services_answer()

    async def _move(self, part: Part) -> None:
        """Before a restart: a spare node in the place of each that does not answer."""
        for old, new in await self.nodes.replace(part.nodes):
            self.journal.event(part.name, "moved", f"from {old} to {new}")
            self.journal.say(f"{old} does not answer; {new} takes its place")
            self.journal.later(self._write_hosts)

    async def _watch_registrations(self) -> None:
        if self.deployment.health is None:
            await watch_registrations(lambda: self.deployment, self._worker_lost)

    def _worker_lost(self, name: str, host: str) -> None:
        part = self.parts[name]
        if part.in_service.is_set():
            part.lost(f"not in etcd any more; rank 0 was on {host}")

    def _engine_processes(self, host: str, found: Mapping[str, set[int]]) -> None:
        for name, part in self.parts.items():
            if part.kind == "worker":
                part.engine_now(host, {rank: pids for rank, pids in found.items() if rank.startswith(f"{name}/")})

    # --- addresses, files --------------------------------------------------------------------------------------------

    def places(self, nodes: Sequence[int], gpus: Sequence[Sequence[int]] = ()) -> list[Place]:
        places = [self.nodes.places[node] for node in nodes]
        own = [replace(p, gpus=gpus_of(p.host, p.gpus, g)) for p, g in zip(places, gpus, strict=False) if g]
        return own if len(own) == len(places) else [replace(p, gpus="all") for p in places]

    @property
    def deployment(self) -> Deployment:
        """Where everything is now: a group may have moved to a spare node."""
        addresses = {index: (place.host, place.address) for index, place in enumerate(self.nodes.places)}
        return deployment_of(self.planned, addresses, self._placement(), self.run.path)

    def _placement(self) -> dict[str, object]:
        front = self.plan.service_ports["frontend"]
        port = front.fixed if front.fixed is not None else self._port_base + front.offset
        address = self.nodes.places[self.plan.head_node].address
        return {"job_id": self._job_id, "port_base": self._port_base, "endpoint": f"http://{address}:{port}"}

    def _ports(self, ports: Mapping[str, object]) -> dict[str, str]:
        numbers = {}
        for name, port in ports.items():
            fixed, offset = getattr(port, "fixed"), getattr(port, "offset")  # noqa: B009
            numbers[f"{name.upper()}_PORT"] = str(fixed if fixed is not None else self._port_base + offset)
        return numbers

    def _worker_addresses(self) -> dict[str, str]:
        """Where the router finds the head of each worker, if its command names them."""
        found = {}
        for group in self.plan.named_groups:
            prefix = Worker(group.name, group.role).prefix
            found[f"{prefix}_ADDR"] = self.nodes.places[group.ranks[0].node].address
            found |= {f"{prefix}_{name}": port for name, port in self._ports(group.ports).items()}
        return found

    def _component(self, places: Sequence[Place]) -> int | None:
        if not self.plan.heterogeneous:
            return None
        return self.plan.component_of(next(n for n, p in enumerate(self.nodes.places) if p.host == places[0].host))

    def _write_hosts(self) -> None:
        lines = [f"{n} {p.host} {p.address} {p.interface}\n" for n, p in enumerate(self.nodes.places)]
        new = self.run.path / "hosts.new"
        new.write_text("".join(lines), encoding="utf-8")
        new.replace(self.run.path / "hosts")

    def _note_process(self, pid: int, name: str) -> None:
        """For `cancel`, should this process be gone by then."""

        def write() -> None:
            with (self.run.path / "processes").open("a", encoding="utf-8") as file:
                file.write(f"{pid} {name}\n")

        self.journal.later(write)

    async def _requeue(self, host: str) -> None:
        """Another try without the node that failed. Slurm takes a node off the list of a job that waits, not of one
        that runs: hence held, changed, released."""
        limit = self.config.on_failure.max_requeues
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")) >= limit:
            self.journal.say(f"it was requeued {limit} times already (on_failure.max_requeues): no further try")
            return
        self.journal.event("stop", "requeued", f"without {host}")
        if (await run_program(["scontrol", "requeuehold", self._job_id], 10))[0]:
            self.journal.say("Slurm refused to requeue the job")
        for turn in range(6):
            code, said = await run_program(
                ["scontrol", "update", f"JobId={self._job_id}", f"ExcNodeList={host}"], 10
            )
            if code == 0:
                break
            if turn == 5:
                self.journal.say(f"could not exclude {host}: {said.strip()}")
            await asyncio.sleep(0.5)
        await run_program(["scontrol", "release", self._job_id], 10)


def _mistake(error: BaseException) -> str:
    return f"a mistake in sgl-launch ({type(error).__name__}: {error}); please report it"


def _import_heavy() -> None:
    """While the nodes answer."""
    import aiohttp  # noqa: F401
    import cryptography.x509  # noqa: F401
    import nats  # noqa: F401
    import pyetcd  # noqa: F401

    import warmup.requests  # noqa: F401
