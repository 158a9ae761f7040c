"""Starting and ending the processes of the job script: as steps of Slurm, or here. Local runs differ here alone.

A step is one process of the script (`bash job.sh prefill`) on each of some nodes. The first rank that ends, ends it.
"""

from __future__ import annotations

import asyncio
import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from launcher.base.words import Word, shown
from launcher.job.child import Child
from launcher.job.logs import Logs

ALONE = 2.0  # seconds that the other ranks get once one has ended


@dataclass(frozen=True)
class Place:
    """Where one rank runs. `order` is the node's position in Slurm's own order, `gpus` a value of
    CUDA_VISIBLE_DEVICES or "all"."""

    host: str
    address: str
    interface: str
    gpus: str = "all"
    order: int = 0

    def __str__(self) -> str:
        return f"{self.host} {self.address} {self.interface} {self.gpus}"


@dataclass(frozen=True)
class Ended:
    """How a step ended: the exit status (as a shell has it) and the rank that was first, where that is known.
    `cancelled`: by Slurm, so the whole job may be ending. `said` is what srun said about it."""

    status: int
    host: str = ""
    rank: int | None = None
    cancelled: bool = False
    said: str = ""
    not_begun: bool = False
    """Slurm did not take the step: its controller does not answer."""
    lost: str = ""
    """Why it was given up while its processes lived, if it was."""


class Step(Protocol):
    """A step that was started."""

    name: str
    ended: asyncio.Future[Ended]

    def stop(self) -> None:
        """Ask all of its processes to end."""

    def kill(self) -> None:
        """End all of its processes."""


class Steps(ABC):
    """Starts steps. `base` is what all of them have in their environment."""

    def __init__(self, script: Path, base: Mapping[str, str], logs: Logs) -> None:
        self.script, self.base, self.logs = script, dict(base), logs

    @abstractmethod
    def start(self, name: str, process: str, places: Sequence[Place], env: Mapping[str, str]) -> Step:
        """One process of the script, a function of it, on each of these places."""

    def env(self, name: str, places: Sequence[Place], more: Mapping[str, str]) -> dict[str, str]:
        """What a process of the script finds in its environment (templates/job.sh.j2)."""
        nodes = "\n".join(map(str, places))
        own = {"GROUP": name, "NNODES": str(len(places)), "HEAD_ADDR": places[0].address, "NODES": nodes}
        return {**self.base, **own, **more}


class LocalSteps(Steps):
    """Every rank is a process of this machine, in a session of its own. `started` is told its pid and its name."""

    def __init__(self, script: Path, base: Mapping[str, str], logs: Logs, started: Callable[[int, str], None]) -> None:
        super().__init__(script, base, logs)
        self._started = started

    def start(self, name: str, process: str, places: Sequence[Place], env: Mapping[str, str]) -> LocalStep:
        words = ("bash", str(self.script), process)
        ranks = []
        for rank in range(len(places)):
            environment = {**self.env(name, places, env), "RANK": str(rank)}
            ranks.append(Child(words, environment, partial(self.logs.write, f"{name}-{rank}.log"), group=True))
            self._started(ranks[rank].pid, f"{name}-{rank}")
        return LocalStep(name, places, ranks)


class LocalStep:
    """Implements Step."""

    def __init__(self, name: str, places: Sequence[Place], ranks: Sequence[Child]) -> None:
        self.name, self._places, self._ranks = name, places, ranks
        self.ended: asyncio.Future[Ended] = ranks[0].loop.create_future()
        self._forced = False
        self._task = ranks[0].loop.create_task(self._wait())

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._forced = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for child in self._ranks:
            child.signal(number)

    async def _wait(self) -> None:
        await asyncio.wait([c.ended for c in self._ranks], return_when=asyncio.FIRST_COMPLETED)
        first = next(n for n, c in enumerate(self._ranks) if not c.alive)
        if self._anything_left():
            self.stop()
            deadline = self._ranks[0].loop.time() + ALONE
            while self._anything_left() and not self._forced and self._ranks[0].loop.time() < deadline:
                await asyncio.sleep(0.05)
            self._signal(signal.SIGKILL)
            await asyncio.wait([c.ended for c in self._ranks])
        for child in self._ranks:
            child.close()
        self.ended.set_result(Ended(self._ranks[first].status, self._places[first].host, first))

    def _anything_left(self) -> bool:
        return any(c.alive or c.others() for c in self._ranks)


class SlurmSteps(Steps):
    """Every step is one srun. `tell` reaches the job's agent on every node (templates/node.sh)."""

    def __init__(
        self, script: Path, base: Mapping[str, str], logs: Logs, tell: Callable[[str], None],
        options: Sequence[Word] = (), component: Callable[[Sequence[Place]], int | None] = lambda _: None,
    ) -> None:  # fmt: skip
        super().__init__(script, base, logs)
        self._tell, self._options, self._component = tell, tuple(options), component

    def start(self, name: str, process: str, places: Sequence[Place], env: Mapping[str, str]) -> SlurmStep:
        options = [shown(word, self.base) for word in self._options]
        words = srun_words(name, [p.host for p in places], self._component(places), options)
        words += ["bash", str(self.script), process]
        return SlurmStep(name, places, words, self.env(name, places, env), self.logs, self._tell)


def srun_words(name: str, hosts: Sequence[str], component: int | None, options: Sequence[str] = ()) -> list[str]:
    """srun for one task on each of these hosts. If one task fails, Slurm ends the others."""
    count = len(hosts)
    return [
        *("srun", f"--job-name={name}", "--overlap", f"--nodelist={','.join(hosts)}"),
        *(f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--wait=2"),
        *("--mem=0", "--cpu-bind=none", "--label"),
        *([] if component is None else [f"--het-group={component}"]),
        *options,
    ]


class SlurmStep:
    """Implements Step."""

    def __init__(
        self, name: str, places: Sequence[Place], words: Sequence[str], env: Mapping[str, str], logs: Logs,
        tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.name, self._places, self._logs, self._tell = name, places, logs, tell
        # Slurm's tasks are in the order of its own list of nodes
        order = sorted(range(len(places)), key=lambda rank: places[rank].order)
        self._rank_of = dict(enumerate(order))
        self._said: list[str] = []
        self._child = Child(words, env, self._output, self._output)
        self.ended: asyncio.Future[Ended] = self._child.loop.create_future()
        self._child.ended.add_done_callback(self._finish)
        self._asked = 0
        self._clearing: asyncio.Task[None] | None = None

    def stop(self) -> None:
        self._tell(f"stop {self.name}")

    def kill(self) -> None:
        """srun ends its tasks at once by a TERM; a node that is gone lets it wait even then."""
        self._tell(f"kill {self.name}")
        self._child.signal(signal.SIGKILL if self._asked else signal.SIGTERM)
        self._asked += 1

    def _output(self, data: bytes) -> None:
        by_rank: dict[int, list[bytes]] = {}
        for line in data.splitlines(keepends=True):
            task, text = labelled(line)
            if task is None:
                self._logs.write(f"{self.name}.srun", line)
                self._said.append(line.decode(errors="replace").rstrip())
                del self._said[:-50]
                if self._clearing is None and _TASK.search(self._said[-1]):
                    self._clearing = self._child.loop.create_task(self._clear())
            else:
                by_rank.setdefault(self._rank_of.get(task, task), []).append(text)
        for rank, lines in by_rank.items():
            self._logs.write(f"{self.name}-{rank}.log", b"".join(lines))

    async def _clear(self) -> None:
        """A task has ended: end what is left of the step. srun by itself waits for processes that outlive their task,
        and for Slurm's controller."""
        self.stop()
        for _ in range(3):
            await asyncio.wait([self._child.ended], timeout=ALONE)
            if self._child.alive:
                self.kill()

    def _finish(self, done: asyncio.Future[int]) -> None:
        self._child.close()
        self.ended.set_result(how_ended(self._child.status, self._said, self._rank_of, self._places))


_LABEL = re.compile(rb" *(\d+): ?")


def labelled(line: bytes) -> tuple[int | None, bytes]:
    """The task of a line of `srun --label` and what that wrote; None for srun's own lines."""
    found = _LABEL.match(line)
    return (int(found[1]), line[found.end() :]) if found else (None, line)


_TASK = re.compile(r"error: (?P<host>[^ :]+): tasks? (?P<task>\d+)[^:]*: (?P<how>.*)")
_HOW = (
    (re.compile(r"exit(?:ed with exit)? code (\d+)", re.I), None),
    (re.compile(r"Killed"), 137),
    (re.compile(r"Terminated"), 143),
    (re.compile(r"Segmentation"), 139),
    (re.compile(r"Aborted"), 134),
    (re.compile(r"Bus error"), 135),
)
_NOT_BEGUN = re.compile(
    r"Unable to (contact|create|confirm)|[Cc]reat\w* (job )?step|contact slurm controller|Connection refused|timed out"
)
# ... unless it has answered: a node that is not to be had is an end of the step like others
_REFUSED = re.compile(r"not available|launch|already completing")
_NODE = re.compile(r"error: Node failure on (?P<host>[^ ,;]+)")
CANCELLED = re.compile(r"CANCELLED AT|Job step aborted|forcing job termination|has expired|already completing")


def how_ended(status: int, said: Sequence[str], rank_of: Mapping[int, int], places: Sequence[Place]) -> Ended:
    """From what srun said: `srun: error: n003: task 1: Exited with exit code 1` names the task that failed first.

    srun's own status is the highest of all tasks; the first one's is the cause.
    """
    cancelled = any(CANCELLED.search(line) for line in said)
    errors = [line.removeprefix("srun: ") for line in said if "rror" in line or "CANCELLED" in line]
    told = "; ".join(errors[:3])
    for line in said:
        if found := _NODE.search(line):
            rank = next((n for n, place in enumerate(places) if place.host == found["host"]), None)
            return Ended(status, found["host"], rank, cancelled, told)
        if found := _TASK.search(line):
            for pattern, known in _HOW:
                if how := pattern.search(found["how"]):
                    status = known if known is not None else int(how[1])
                    break
            rank = rank_of.get(int(found["task"]))
            # of several hosts ("n[1-2]: tasks 0-1") the one that the rank is on
            host = found["host"] if rank is None else places[rank].host
            return Ended(status, host, rank, cancelled, told)
    not_begun = any("rror" in line and _NOT_BEGUN.search(line) and not _REFUSED.search(line) for line in said)
    return Ended(status, places[0].host if len(places) == 1 else "", None, cancelled, told, not_begun)
