"""One job as its supervisor has it: the plan, the nodes, the parts, the record, and what settles its end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.containers import job_container
from launcher.job import environment
from launcher.job.addresses import Addresses
from launcher.job.child import run_program
from launcher.job.journal import Journal
from launcher.job.logs import Logs
from launcher.job.nodes import Nodes
from launcher.job.part import Part
from launcher.job.policy import Action, Phase
from launcher.job.steps import Ended, LocalSteps, Place, SlurmSteps, Step, Steps, srun_words
from launcher.plan.model import Plan
from launcher.run.folder import RunFolder


@dataclass(frozen=True)
class Ending:
    """Why the job ends: its exit status, seconds for running requests, and the host to leave out of another try."""

    code: int
    drain: float = 0.0
    requeue_without: str | None = None


class Job:
    """Implements launcher.job.part.Job. `ending` is settled once, by whatever ends the job."""

    def __init__(self, plan: Plan, run: RunFolder, job_id: str, journal: Journal) -> None:
        self.plan, self.run, self.journal, self.job_id = plan, run, journal, job_id
        self.config = plan.config
        self.phase: Phase = "starting"
        ranks = sum(len(g.ranks) for g in plan.groups)
        self.logs = Logs(run.path / "logs", ranks + 2 * len(plan.groups) + 8, self.config.logs.limit_mb * 10**6)
        self.parts: dict[str, Part] = {}
        self.helpers: dict[str, Step] = {}
        self.ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        env = environment.base_env(os.environ, self.config.env_from)
        python = Path(sys.executable)
        scratch = f"sgl-launch-{job_id}-{os.urandom(6).hex()}"
        env |= {
            "RUN": str(run.path), "JOB_ID": job_id, "LAUNCH_RUN": str(run.path), "LAUNCH_JOB": job_id,
            "LAUNCH_PYTHON": str(python), "SCRATCH_NAME": scratch,
            # the programs that were installed with sgl-launch (nats-server, etcd), after the site's own
            "PATH": f"{os.environ.get('PATH', os.defpath)}:{python.parent}",
        }
        # for `cancel`, should this process be gone by then
        journal.later(lambda: (run.path / "scratch").write_text(f"{scratch}\n"))
        container = job_container(self.config)
        parts = "|".join(dict.fromkeys(role.command.part for role in plan.roles if role.command.part))
        agent = [str(run.path), scratch, parts, container.sweep.replace("$JOB_ID", job_id)]
        self.nodes = Nodes(plan, env, agent, self._engine_processes)
        self.addresses = Addresses(plan, self.nodes, run, job_id)
        script = run.path / "job.sh"
        self.steps: Steps
        if plan.cluster == "local":
            self.steps = LocalSteps(script, env, self.logs, self._note_process)
        else:
            options, component = container.srun_options, self.addresses.component
            self.steps = SlurmSteps(script, env, self.logs, self.nodes.tell, options, component)

    def end(self, part: Part, ended: Ended, action: Action) -> None:
        """A part has ended for good: so does the job."""
        if self.ending.done():
            return
        host = ended.host or (part.step and " ".join(p.host for p in self.places(part.nodes))) or "?"
        log = self.run.path / "logs" / f"{part.name}-{ended.rank or 0}.log"
        if tail := self.logs.tail(log.name):
            self.journal.say(f"last lines of {log}:\n" + "\n".join(tail))
        if ended.said:
            self.journal.say(f"srun of {part.name} said: {ended.said}")
        rank = "" if ended.rank is None else f" (rank {ended.rank})"
        how = f"ended with exit status {ended.status} on {host}; its log: {log}"
        if ended.lost:
            rank, how = "", f"on {host} is lost: {ended.lost}; its log: {log}"
        if gone := [p.name for p in self.parts.values() if p.kind == "service" and p.restarts and p is not part]:
            how += f" (before that, {' and '.join(gone)} had ended and was started again)"
        self.journal.fail(self.journal.stage, f"{part.name}{rank} {how}")
        self.settle(Ending(ended.status or 1, requeue_without=host.split()[0] if action == "requeue" else None))

    async def is_ending(self, seconds: float) -> bool:
        """Whether the job ends within so many seconds from now."""
        await asyncio.wait([self.ending], timeout=seconds)
        return self.ending.done()

    def settle(self, ending: Ending) -> None:
        """From here on nothing is started again."""
        if not self.ending.done():
            self.phase = "stopping"
            self.ending.set_result(ending)

    def share(self, variables: Mapping[str, str]) -> None:
        """Every process that is started from now on gets these."""
        self.steps.base.update(variables)

    def places(self, nodes: Sequence[int], gpus: Sequence[Sequence[int]] = ()) -> list[Place]:
        return self.addresses.places(nodes, gpus)

    async def run_outside(self, words: Sequence[str]) -> str:
        """Run a short program on every node, outside of containers; what went wrong there, empty if nothing."""
        commands, hosts = [list(words)], dict[int | None, list[str]]()
        if self.plan.cluster == "slurm":
            for place in self.nodes.places:
                hosts.setdefault(self.addresses.component([place]), []).append(place.host)
            commands = [[*srun_words("outside", names, kind), *words] for kind, names in hosts.items()]
        done = await asyncio.gather(*(run_program(command, 60, self.steps.base) for command in commands))
        return "; ".join(said.strip() or f"exit status {code}" for code, said in done if code)

    def _engine_processes(self, host: str, found: Mapping[str, set[int]]) -> None:
        for name, part in self.parts.items():
            if part.kind == "worker":
                part.engine_now(host, {rank: pids for rank, pids in found.items() if rank.startswith(f"{name}/")})

    def _note_process(self, pid: int, name: str) -> None:
        """For `cancel`, should this process be gone by then."""

        def write() -> None:
            with (self.run.path / "processes").open("a", encoding="utf-8") as file:
                file.write(f"{pid} {name}\n")

        self.journal.later(write)
