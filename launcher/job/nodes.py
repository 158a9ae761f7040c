"""The job's nodes: one agent on each (templates/node.sh), what it says, and which node has which place in the plan."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from launcher.base.counting import first_few
from launcher.base.errors import WorkError
from launcher.base.files import data_path
from launcher.job.child import Child, run_program
from launcher.job.facts import Facts, FactsReader, check_distinct, choose_address
from launcher.job.steps import CANCELLED, Place, labelled, srun_words
from launcher.plan.model import Plan

SPARE_LIMIT = 20.0  # seconds that a node has to answer where another can take its place
_PONG = 5.0  # seconds
_CLAIM = 5.0  # seconds for all nodes to lock a block of ports
_ALIVE = 1.0  # seconds between two signs of life to the agents, which end all after some without one

Said = Callable[[str, dict[str, set[int]]], None]


@dataclass
class Agent:
    """One step of agents: its process, and the hosts that it covers."""

    child: Child
    hosts: tuple[str, ...]
    said: list[str] = field(default_factory=list)


class Nodes:
    """Raises WorkError where nodes cannot be had. `on_engine` is told (host, {GROUP/RANK: pids}) when the engines'
    own processes on a host have changed."""

    def __init__(self, plan: Plan, env: Mapping[str, str], words: Sequence[str], on_engine: Said) -> None:
        self._plan, self._env, self._on_engine = plan, dict(env), on_engine
        self._mark = f"sgl-launch-{secrets.token_hex(4)}"
        text = (data_path("templates") / "node.sh").read_text(encoding="utf-8")
        self._words = ["bash", "-c", text, "node", self._mark, *words]
        self._reader = FactsReader()
        self._agents: list[Agent] = []
        self._changed = asyncio.Event()
        self._pongs: dict[str, asyncio.Event] = {}
        self._claims: dict[str, tuple[str, str]] = {}
        self.hosts: list[str] = []
        """The allocation's host names in Slurm's order."""
        self.places: list[Place] = []
        """By index in the plan; spare nodes after them."""
        self.left_out: list[str] = []
        self.compilers: Counter[str] = Counter()
        """How many of each name were seen among the workers' processes."""
        self.gpus: dict[str, list[str]] = {}
        """What "HOST INDEX" said last: UUID, use in %, MiB used, MiB, W, °C."""
        self._alive = asyncio.create_task(self._show_life())

    # --- finding them ------------------------------------------------------------------------------------------------

    async def find(self, limit: float) -> None:
        """Start the agents and wait until every node has said its facts."""
        await self._start()
        spare = self._plan.spare_nodes
        limit = SPARE_LIMIT if spare else limit
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._all_said(), limit)
        if self._reader.faults and not spare:
            raise WorkError("; ".join(f"node {host}: {text}" for host, text in self._reader.faults.items()))
        facts = self._reader.whole
        present = [host for host in self.hosts if host in facts]
        self.left_out = [host for host in self.hosts if host not in facts]
        if self.left_out and (not spare or len(present) < self._plan.nodes):
            raise WorkError(self._why_missing(limit))
        self.places = self._place(present)

    def _place(self, hosts: Sequence[str]) -> list[Place]:
        facts = self._reader.whole
        wanted = self._plan.config.network.interface
        if self._plan.cluster == "local":
            own = facts[hosts[0]]
            # each "node" has an address of its own (all of 127.0.0.0/8 is this machine): the ranks of a group have the
            # same ports, each on its node
            chosen = [
                choose_address(own, wanted) if wanted else (f"127.0.{index // 250}.{index % 250 + 1}", "lo")
                for index in range(self._plan.nodes)
            ]
            return [Place(own.host, *address, own.gpus, index) for index, address in enumerate(chosen)]
        chosen = [choose_address(facts[host], wanted) for host in hosts]
        check_distinct({host: address for host, (address, _) in zip(hosts, chosen, strict=True)}, facts)
        order = {host: n for n, host in enumerate(self.hosts)}
        found = zip(hosts, chosen, strict=True)
        return [Place(host, *address, facts[host].gpus, order[host]) for host, address in found]

    def facts(self, node: int) -> Facts:
        """What a node of the plan said of itself."""
        return self._reader.whole[self.places[node].host]

    def listening(self) -> dict[str, frozenset[int]]:
        """The ports in use by host name."""
        return {host: facts.ports for host, facts in self._reader.whole.items()}

    async def _start(self) -> None:
        if self._plan.cluster == "local":
            self._begin(self._words, ())
            return
        for number in range(len(self._plan.components)):
            hosts = await self._host_names(number)
            self.hosts += hosts
            kind = number if self._plan.heterogeneous else None
            # one step for all, but where a node may be dead: its step would hold up the others
            for part in [[h] for h in hosts] if self._plan.spare_nodes else [hosts]:
                words = srun_words("nodes", part, kind)
                words = [w for w in words if not w.startswith(("--kill-on-bad-exit", "--wait"))]
                self._begin([*words, "--kill-on-bad-exit=0", "--wait=0", *self._words], part)

    async def _host_names(self, component: int) -> list[str]:
        suffix = f"_HET_GROUP_{component}" if self._plan.heterogeneous else ""
        names = self._env.get(f"SLURM_JOB_NODELIST{suffix}") or self._env.get("SLURM_JOB_NODELIST", "")
        code, said = await run_program(["scontrol", "show", "hostnames", names], 20, self._env)
        if code or not said.split():
            raise WorkError(f"scontrol does not name the job's nodes: {said.strip() or f'exit status {code}'}")
        return said.split()

    def _begin(self, words: Sequence[str], hosts: Sequence[str]) -> None:
        said: list[str] = []

        def output(data: bytes) -> None:
            for line in data.splitlines():
                self._take(labelled(line)[1] if hosts else line, said)

        try:
            child = Child(words, self._env, output, group=not hosts, told=True)
        except OSError as e:
            raise WorkError(f"{words[0]}: {e.strerror}") from None
        child.ended.add_done_callback(lambda _: self._changed.set())
        self._agents.append(Agent(child, tuple(hosts), said))

    async def _all_said(self) -> None:
        while True:
            self._changed.clear()
            said = {*self._reader.whole, *self._reader.faults}
            if self._plan.cluster == "local" and said:
                self.hosts = list(said)[:1]
            if self.hosts and said.issuperset(self.hosts):
                return
            if all(not a.child.alive for a in self._agents):
                return
            await self._changed.wait()

    def _take(self, line: bytes, said: list[str]) -> None:
        words = line.decode(errors="replace").split()
        if len(words) < 2 or words[0] != self._mark:
            said.append(line.decode(errors="replace"))  # somebody else's, or a complaint
            del said[:-20]
            return
        kind, rest = words[1], words[2:]
        if kind == "engine":
            self._engine(rest)
        elif kind == "compilers":
            self.compilers.update(name for rank, _, name in (word.partition(":") for word in rest[1:]))
        elif kind == "gpu" and rest[2:]:
            self.gpus[" ".join(rest[:2])] = rest[2:]
        elif kind == "pong" and rest:
            self._pongs.setdefault(rest[0], asyncio.Event()).set()
        elif kind in ("claimed", "taken") and rest:
            self._claims[rest[0]] = kind, " ".join(rest[1:])
            self._changed.set()
        else:
            self._reader.take(kind, rest)
            if kind in ("facts", "fault"):
                self._changed.set()

    def _engine(self, words: Sequence[str]) -> None:
        found: dict[str, set[int]] = {}
        for word in words[1:]:
            rank, _, pid = word.rpartition(":")
            if pid.isdecimal():
                found.setdefault(rank, set()).add(int(pid))
        self._on_engine(words[0] if words else "", found)

    def _why_missing(self, limit: float) -> str:
        said = [line for agent in self._agents for line in agent.said if "rror" in line or "not found" in line]
        if any(CANCELLED.search(line) for line in said):  # and a TERM that came before this process could take it
            return "the job was ended while its nodes were discovered: cancelled, or its time was over"
        tail = f": {'; '.join(dict.fromkeys(said[-3:]))}" if said else ""
        shown = first_few(self.left_out)
        return f"node discovery failed: no answer within {limit:.0f} s from {shown or 'this machine'}{tail}"

    # --- using them --------------------------------------------------------------------------------------------------

    def tell(self, order: str) -> None:
        """An order to all agents."""
        for agent in self._agents:
            agent.child.tell(order)

    async def answers(self, host: str) -> bool:
        """Whether the agent of a node answers now."""
        self._pongs[host] = event = asyncio.Event()
        self.tell("ping")
        try:
            await asyncio.wait_for(event.wait(), _PONG)
        except asyncio.TimeoutError:
            return False
        return True

    async def claim(self, blocks: Sequence[int]) -> list[str]:
        """Lock these blocks of ports on every node until the job's end; the hosts where another job has one of them.
        A node that does not answer in time has looked at its ports at least."""
        wanted = " ".join(map(str, blocks))
        hosts = {place.host for place in self.places}
        self._claims.clear()
        self.tell(f"claim {wanted}")

        async def answered() -> None:
            while not hosts <= {host for host, (_, said) in self._claims.items() if said == wanted}:
                self._changed.clear()
                await self._changed.wait()

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(answered(), _CLAIM)
        return sorted(host for host, (kind, said) in self._claims.items() if said == wanted and kind == "taken")

    async def replace(self, indices: Sequence[int]) -> list[tuple[str, str]]:
        """Put a spare node that answers in the place of each of these nodes that does not: (old, new) host names."""
        moved = []
        for index in indices:
            if await self.answers(self.places[index].host):
                continue
            for spare in range(self._plan.nodes, len(self.places)):
                if await self.answers(self.places[spare].host):
                    moved.append((self.places[index].host, self.places[spare].host))
                    # the dead one is last: it is asked again only when no other is left
                    self.places[index], dead = self.places[spare], self.places[index]
                    del self.places[spare]
                    self.places.append(dead)
                    break
        return moved

    async def _show_life(self) -> None:
        while True:
            await asyncio.sleep(_ALIVE)
            self.tell("alive")

    async def end(self, limit: float) -> None:
        """Have the agents tidy up; those that do not within `limit` seconds are killed."""
        self.tell("end")
        await self._agents_ended(limit)
        for agent in self._agents:
            agent.child.signal(signal.SIGTERM if agent.hosts else signal.SIGKILL)
        await self._agents_ended(1)
        for agent in self._agents:
            agent.child.signal(signal.SIGKILL)
            agent.child.close()

    async def _agents_ended(self, limit: float) -> None:
        if living := [a.child.ended for a in self._agents if a.child.alive]:
            await asyncio.wait(living, timeout=limit)
