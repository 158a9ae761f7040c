"""Watch etcd for workers that vanish while their processes seem to live.

A node that loses its network or its power says nothing: Slurm notices after SlurmdTimeout (300 s
unless the site changed it), and until then the worker's `srun` waits. Its lease in etcd ends long
before that. Then the group's keeper in the job's script is told (SIGUSR1) to end what is left of the
group and to go by on_failure.workers.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from launcher.run.deployment import Deployment, etcd_client, read_deployment
from launcher.run.folder import RunFolder
from launcher.run.registry import registrations

GRACE = 3.0  # seconds that a worker may be missing: one that has ended is its keeper's business
_EVERY = 1.0
_IN_SERVICE = ("ready", "warm")  # the last event of a group that nobody is seeing to


@dataclass
class Watch:
    """Which groups were there and are missing now. Pure: it is told the time."""

    known: set[str] = field(default_factory=set)
    missing: dict[str, float] = field(default_factory=dict)

    def lost(self, groups: Iterable[tuple[str, str]], found: set[str], now: float) -> list[str]:
        """Names of the groups that have been missing for long enough; each is told once.

        `groups` are (name, address), `found` the addresses that are registered.
        """
        gone = []
        for name, address in groups:
            if address in found:
                self.known.add(name)
                self.missing.pop(name, None)
            elif name in self.known and now - self.missing.setdefault(name, now) >= GRACE:
                self.known.discard(name)
                self.missing.pop(name)
                gone.append(name)
        return gone


def monitor(run: RunFolder, say: Callable[[str], None]) -> None:
    """Runs until it is ended."""
    watch = Watch()
    client = None
    while True:
        try:
            deployment = read_deployment(run)  # anew: a group may have moved to a spare node
            client = client or etcd_client(deployment)
            found = {r.address for r in registrations(client)}
        except Exception:  # any of grpc's and pyetcd's; the script itself watches etcd's process
            client = None
            watch.missing.clear()
        else:
            for name in watch.lost([(g.name, g.rpc) for g in deployment.groups], found, time.monotonic()):
                _tell(run, deployment, name, say)
        time.sleep(_EVERY)


def _tell(run: RunFolder, deployment: Deployment, name: str, say: Callable[[str], None]) -> None:
    last = [e.state for e in run.events() if e.stage == name][-1:]
    if last and last[0] not in _IN_SERVICE:
        return  # its keeper knows, and is bringing it back
    keeper = _keeper(run, name)
    if keeper is None:
        return
    host = next(g.host for g in deployment.groups if g.name == name)
    run.add_event(name, "lost", f"not in etcd any more; rank 0 was on {host}")
    say(f"{name} (rank 0 on {host}) is lost: it is not in etcd any more, though its step has not ended")
    os.kill(keeper, signal.SIGUSR1)


def _keeper(run: RunFolder, name: str) -> int | None:
    """Pid of the group's keeper: a child of the script, as this process is."""
    try:
        pid = int((run.path / "steps" / f"{name}.keeper").read_text())
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    parent = int(stat[stat.rindex(")") + 2 :].split()[1])
    return pid if parent == os.getppid() else None
