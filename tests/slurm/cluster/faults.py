"""Faults of nodes and their network, and the mending of all that is broken or left."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path

from .config import CONTROLLER, LOGIN
from .daemons import Daemons, wait_daemon
from .procfs import Process
from .state import HERE, RigError
from .waiting import wait_until


class Faults(Daemons):
    """Breaks nodes and links, and makes the cluster whole again."""

    def node_kill(self, *nodes: str) -> None:
        """Power loss: first the link (so that no FIN or RST gets out), then every process of the
        node."""
        for node in nodes:
            self.cut(node)
            proc = self._proc(node)
            self.state.joinpath("node", node, "init.pid").unlink()
            self._in_fabric(["kill", "-KILL", proc.name])
            wait_until(functools.partial(_gone, proc), 10, f"{node}'s end", every=0.01)

    def node_boot(self, *nodes: str) -> None:
        """Bring killed nodes back, with a fresh slurmd. /tmp and slurmd's spool folder are kept."""
        for node in nodes:
            self.join(node)
            role = "slurmd" if node in self.hosts else node
            done = self._in_fabric([str(HERE / "node-start.sh"), node, self.address(node), role])
            if done.returncode != 0:
                raise RigError(f"{node} did not boot: {done.stderr.strip()}")

    def cut(self, *nodes: str) -> None:
        """Pull the nodes' network cables; their processes go on."""
        for node in nodes:
            self.join(node)
            for direction in ("to", "from"):
                self._rule("add", 100, [direction, self.address(node)])

    def join(self, *nodes: str) -> None:
        """Plug the nodes' network cables in again."""
        for node in nodes:
            for direction in ("to", "from"):
                self._rule("del", 100, [direction, self.address(node)])

    def partition(self, a: str, b: str) -> None:
        """a and b cannot reach each other; both still reach everything else."""
        self.heal(a, b)
        self._rule("add", 90, ["from", self.address(a), "to", self.address(b)])
        self._rule("add", 90, ["from", self.address(b), "to", self.address(a)])

    def heal(self, a: str, b: str) -> None:
        """Undo partition."""
        self._rule("del", 90, ["from", self.address(a), "to", self.address(b)])
        self._rule("del", 90, ["from", self.address(b), "to", self.address(a)])

    def _rule(self, verb: str, priority: int, selector: Sequence[str]) -> None:
        done = self._in_fabric(["ip", "rule", verb, "pref", str(priority), *selector, "blackhole"])
        if done.returncode != 0 and verb == "add":
            raise RigError(f"ip rule {verb}: {done.stderr.strip()}")

    def mend(self) -> list[str]:
        """Undo every fault that is still there, and return what was done."""
        done = []
        rules = self._in_fabric(["ip", "rule", "show"]).stdout
        for line in rules.splitlines():
            priority, _, rest = line.partition(":")
            if priority in ("90", "100"):
                self._in_fabric(["ip", "rule", "del", "pref", priority, *rest.split()])
                done.append(f"network: {rest.strip()}")
        for node in (CONTROLLER, LOGIN, *self.hosts):
            try:
                self._proc(node)
            except RigError:
                self.node_boot(node)
                done.append(f"booted {node}")
        if not self._daemon_pids(CONTROLLER, "slurmctld"):
            self.ctld_start()
            done.append("started slurmctld")
        for node in self.hosts:
            pids = functools.partial(self._daemon_pids, node, "slurmd")
            if not wait_daemon(pids, grace=bool(done)):
                self.slurmd_start(node)
                done.append(f"started slurmd on {node}")
        return done

    def reset(self, timeout: float = 60, grace: float = 5) -> dict[str, list[Process]]:
        """Make the cluster as new for the next test: mend, cancel the jobs that are left, wait
        until nodes are idle.

        Returns the processes that were left on each node when all jobs had ended; those are killed.
        grace: seconds that a process gets to go by itself, as ending takes time. timeout: seconds
        for the jobs' end and again for the nodes.
        Raises TimeoutError when jobs do not end or nodes do not become idle.
        """
        self.mend()
        jobs = self.unfinished_jobs()
        self.cancel(*jobs)
        for job in jobs:
            self.wait_job(job, timeout)
        left = self.left_over(timeout=grace)
        for node, processes in left.items():
            self.kill_processes(node, processes)
        for node, state in self.node_states().items():
            if state.startswith(("drain", "down")) and not state.endswith("*"):
                self.run(["scontrol", "update", f"nodename={node}", "state=resume"])
        self.wait_idle(timeout)
        return left

    def left_over(self, timeout: float) -> dict[str, list[Process]]:
        """Node to its processes, as soon as there are none, or those that are still there after
        timeout seconds."""
        end = time.monotonic() + timeout
        while True:
            everywhere = {node: self.processes(node) for node in (LOGIN, CONTROLLER, *self.hosts)}
            left = {node: processes for node, processes in everywhere.items() if processes}
            if not left or time.monotonic() >= end:
                return left
            time.sleep(0.05)


def _gone(proc: Path) -> bool:
    """Whether the process of this /proc entry has ended (a zombie has no namespaces any more)."""
    return not proc.joinpath("ns/pid").exists()
