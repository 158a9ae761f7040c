"""Bring a worker group that was started again back into service."""

from __future__ import annotations

import asyncio
import contextlib
import time

from launcher.base.errors import WorkError
from launcher.job.journal import Journal
from launcher.job.ready import Registry, prove_at, wait_for_chat, wait_healthy
from launcher.job.warm import sweep_one
from launcher.run.deployment import Deployment, GroupAddress, etcd_client
from launcher.run.folder import RunFolder
from launcher.run.registry import Registration, forget


async def bring_back(
    deployment: Deployment, name: str, timeout: float, journal: Journal, warm: RunFolder | None
) -> None:
    """Take the dead worker off the list, wait for the new one, have it answer and warm it.

    Records its states as events, and the sweep's report in the folder `warm` (None: no sweep).
    Raises WorkError when that takes longer than `timeout` seconds.
    """
    from warmup.requests import Worker

    group = next(g for g in deployment.groups if g.name == name)
    begin = time.monotonic()
    role = "agg" if group.role == "aggregated" else group.role
    if deployment.health == "":
        await wait_for_chat(deployment, begin + timeout)
        journal.event(name, "ready")
        journal.say(f"{name} serves again ({time.monotonic() - begin:.1f} s)")
        return
    if deployment.health is not None:
        await wait_healthy([group], deployment.health, begin + timeout, journal)
        worker = Worker(role, name)
    else:
        known = {int(e.detail, 16) for e in journal.events if (e.stage, e.state) == (name, "registered")}
        # without etcd, which may be away for a moment, its lease ends by itself
        with contextlib.suppress(Exception):
            if await asyncio.to_thread(_forget, deployment, group.rpc, known):
                journal.event(name, "deregistered")
        found = await _wait_registered(deployment, group, begin + timeout)
        journal.event(name, "registered", f"{found.instance_id:x}")
        worker = Worker(role, name, instance_id=found.instance_id, address=group.rpc)
    left = max(timeout - (time.monotonic() - begin), 1.0)
    try:
        await prove_at(deployment.endpoint, deployment, [worker], left)
    except WorkError as e:
        raise WorkError(f"{name} is back but does not answer: {e}") from None
    journal.event(name, "ready")
    if warm:
        report, file = await sweep_one(deployment, worker, left), f"warmup-{name}.json"
        journal.later(lambda: warm.write_json(file, report.to_dict()))
        if report.verdict.warm:
            journal.event(name, "warm", "warm")
        else:
            why = "; ".join([report.verdict.state, *report.verdict.reasons[:3]])
            journal.event(name, "not warm", f"{why}; see {warm.path}/{file}")
            journal.say(f"{name} answers but is not warm: {why}; see {warm.path}/{file}")
    journal.say(f"{name} serves again ({time.monotonic() - begin:.1f} s)")


def _forget(deployment: Deployment, address: str, known: set[int]) -> bool:
    client = etcd_client(deployment)
    try:
        return forget(client, address, known)
    finally:
        client.close()


async def _wait_registered(deployment: Deployment, group: GroupAddress, deadline: float) -> Registration:
    registry = Registry(deployment)
    while True:
        with contextlib.suppress(Exception):  # etcd may be away for a moment
            for registration in await registry.found():
                if registration.address == group.rpc:
                    return registration
        if time.monotonic() > deadline:
            raise WorkError(f"{group.name} was started again but has not registered")
        await asyncio.sleep(0.25)
