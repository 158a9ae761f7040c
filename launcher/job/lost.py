"""Watch etcd for workers that vanish while their processes seem to live.

A node that loses its network or its power says nothing, and Slurm notices after SlurmdTimeout (300 s unless the site
changed it). The worker's lease in etcd ends long before that: then what is left of the group is ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from launcher.job.ready import Registry
from launcher.run.deployment import Deployment

GRACE = 3.0  # seconds that a worker may be missing: one that has ended is its keeper's business
_EVERY = 1.0


@dataclass
class Watch:
    """Which groups were there and are missing now. Pure: it is told the time."""

    known: set[str] = field(default_factory=set)
    missing: dict[str, float] = field(default_factory=dict)

    def lost(self, groups: Iterable[tuple[str, str]], found: set[str], now: float) -> list[str]:
        """Of `groups` (name, address) the names of those that are not among the addresses `found` and have been missing
        for long enough; each is told once."""
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


async def watch_registrations(deployment_now: Callable[[], Deployment], lost: Callable[[str, str], None]) -> None:
    """Runs until it is cancelled; `lost` is told the name of a group and the host of its rank 0."""
    watch, registry = Watch(), Registry(deployment_now())
    while True:
        deployment = registry.deployment = deployment_now()  # a group may have moved to a spare node
        try:
            found = {r.address for r in await registry.found()}
        except Exception:  # any of grpc's and pyetcd's; etcd's own process is watched as all others are
            watch.missing.clear()
        else:
            hosts = {g.name: g.host for g in deployment.groups}
            for name in watch.lost([(g.name, g.rpc) for g in deployment.groups], found, time.monotonic()):
                lost(name, hosts[name])
        await asyncio.sleep(_EVERY)
