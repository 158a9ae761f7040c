"""Bring a worker group that was started again back into service."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace

from launcher.base.errors import WorkError
from launcher.job.ready import health_error, wait_for_chat
from launcher.job.warm import options_from_plan
from launcher.run.deployment import Deployment, GroupAddress, etcd_client
from launcher.run.folder import RunFolder
from launcher.run.registry import Registration, forget, registrations


def bring_back(run: RunFolder, deployment: Deployment, name: str, timeout: float, say: Callable[[str], None]) -> None:
    """Take the dead worker off the list, wait for the new one, have it answer and warm it.

    Records its states as events. Raises WorkError when that takes longer than `timeout` seconds.
    """
    from warmup.requests import Worker, prove
    from warmup.requests import run as sweep

    group = next(g for g in deployment.groups if g.name == name)
    begin = time.monotonic()
    role = "agg" if group.role == "aggregated" else group.role
    if deployment.health == "":
        wait_for_chat(deployment, begin + timeout)
        run.add_event(name, "ready")
        say(f"{name} serves again ({time.monotonic() - begin:.1f} s)")
        return
    if deployment.health is not None:
        _wait_healthy(group, deployment.health, begin + timeout)
        run.add_event(name, "registered", group.url)
        worker = Worker(role, name)
    else:
        client = etcd_client(deployment)
        try:
            known = {int(e.detail, 16) for e in run.events() if (e.stage, e.state) == (name, "registered")}
            # without etcd, which may be away for a moment, its lease ends by itself
            with contextlib.suppress(Exception):
                if forget(client, group.rpc, known):
                    run.add_event(name, "deregistered")
            found = _wait_registered(client, group, begin + timeout)
        finally:
            client.close()
        run.add_event(name, "registered", f"{found.instance_id:x}")
        worker = Worker(role, name, instance_id=found.instance_id, address=group.rpc)
    left = max(timeout - (time.monotonic() - begin), 1.0)
    proof = prove(deployment.endpoint, deployment.model, expected_workers=[worker], time_limit=left)
    if not proof.ready:
        raise WorkError(f"{name} is back but does not answer: {proof}")
    run.add_event(name, "ready")
    if deployment.plan.settings.requests_enabled:
        options = options_from_plan(deployment.plan)
        report = sweep(
            deployment.endpoint,
            model=deployment.model,
            options=replace(options, time_limit=left),
            expected_workers=[worker],
        )
        run.add_event(name, "warm" if report.verdict.warm else "ready", report.verdict.state)
    say(f"{name} serves again ({time.monotonic() - begin:.1f} s)")


def tell_keeper(run: RunFolder, name: str, why: str) -> None:
    """The group that was started again does not serve: its keeper, who started this process, ends it
    and goes by on_failure.workers once more."""
    keeper = (run.path / "steps" / f"{name}.keeper").read_text().strip()
    if keeper == str(os.getppid()):
        run.add_event(name, "lost", why)
        os.kill(os.getppid(), signal.SIGUSR1)


def _wait_healthy(group: GroupAddress, path: str, deadline: float) -> None:
    while error := health_error(group.url + path):
        if time.monotonic() > deadline:
            raise WorkError(f"{group.name} was started again but is not healthy: {error}")
        time.sleep(0.25)


def _wait_registered(client: object, group: GroupAddress, deadline: float) -> Registration:
    while True:
        try:
            for registration in registrations(client):
                if registration.address == group.rpc:
                    return registration
        except Exception:  # etcd may be away for a moment
            pass
        if time.monotonic() > deadline:
            raise WorkError(f"{group.name} was started again but has not registered")
        time.sleep(0.25)
