"""Bring a worker group that was started again back into service."""

from __future__ import annotations

import contextlib
import time

from launcher.base.errors import WorkError
from launcher.job.journal import Journal
from launcher.job.ready import Registry, prove_at, wait_for_chat, wait_healthy
from launcher.job.warm import sweep_one
from launcher.run.deployment import Deployment
from launcher.run.folder import RunFolder


async def bring_back(
    deployment: Deployment, name: str, timeout: float, journal: Journal, warm: RunFolder | None
) -> None:
    """Take the dead worker off the list, wait for the new one, have it answer and warm it, each with an event; the
    sweep's report is in the folder `warm` (None: no sweep). Raises WorkError when that takes longer than `timeout`
    seconds."""
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
        registry = Registry(deployment)
        await take_off(deployment, name, journal)
        found = [registration async for _, registration in registry.arrivals([group], begin + timeout)]
        if not found:
            raise WorkError(f"{name} was started again but has not registered")
        journal.event(name, "registered", f"{found[0].instance_id:x}")
        worker = Worker(role, name, instance_id=found[0].instance_id, address=group.rpc)
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
            why = "; ".join([report.verdict.state, *report.verdict.reasons[:3]]) + f"; see {warm.path}/{file}"
            journal.event(name, "not warm", why)
            journal.say(f"{name} answers but is not warm: {why}")
    journal.say(f"{name} serves again ({time.monotonic() - begin:.1f} s)")


async def take_off(deployment: Deployment, name: str, journal: Journal) -> None:
    """Take a dead worker of Dynamo off etcd's list, so that the frontends send it nothing more. Without etcd, which may
    be away for a moment, its lease ends by itself."""
    known = {int(e.detail, 16) for e in journal.events if (e.stage, e.state) == (name, "registered")}
    address = next(g.rpc for g in deployment.groups if g.name == name)
    with contextlib.suppress(Exception):
        if await Registry(deployment).forget(address, known):
            journal.event(name, "deregistered")
