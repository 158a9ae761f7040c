"""Readiness, proven: every worker registered, then a real request answered through each.

The frontend's /health and /v1/models are not enough: the first is 200 without any worker, and a
model is listed though every request fails when a worker advertises an address that is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from launcher.errors import WorkError
from launcher.job.deployment import Deployment, etcd_client, expected_workers
from launcher.job.registry import Registration, registrations
from launcher.runfolder import RunFolder

Say = Callable[[str], None]


def wait_until_ready(run: RunFolder, deployment: Deployment, timeout: float, say: Say) -> None:
    """Returns when the deployment answers through every worker.

    Records an event for each worker. Raises WorkError after `timeout` seconds, naming the workers
    that are missing and where their logs are.
    """
    begin = time.monotonic()
    _wait_registered(run, deployment, begin, timeout, say)
    _prove(run, deployment, begin, timeout, say)


def _wait_registered(run: RunFolder, deployment: Deployment, begin: float, timeout: float, say: Say) -> None:
    waiting = {g.rpc: g for g in deployment.groups}
    client = etcd_client(deployment)
    error = ""
    try:
        while waiting:
            try:
                found: list[Registration] = registrations(client)
                error = ""
            except Exception as e:  # any of grpc's and pyetcd's: etcd may be back a moment later
                found, error = [], f"; etcd: {type(e).__name__} {e}"
            for registration in found:
                group = waiting.pop(registration.address, None)
                if group is not None:
                    run.add_event(group.name, "registered", f"{registration.instance_id:x}")
                    say(f"{group.name} on {group.host} registered ({time.monotonic() - begin:.1f} s)")
            if waiting and time.monotonic() - begin > timeout:
                names = ", ".join(
                    f"{g.name} on {g.host} (log {run.path}/logs/{g.name}-0.log)" for g in waiting.values()
                )
                raise WorkError(f"not registered after {timeout:.0f} s: {names}{error}")
            time.sleep(0.25)
    finally:
        client.close()


def _prove(run: RunFolder, deployment: Deployment, begin: float, timeout: float, say: Say) -> None:
    from warmup.requests import prove

    left = timeout - (time.monotonic() - begin)
    proof = prove(
        deployment.endpoint,
        deployment.model,
        expected_workers=expected_workers(deployment),
        time_limit=max(left, 1.0),
        interval=0.25,
    )
    if not proof.ready:
        raise WorkError(str(proof))
    for worker in proof.answered:
        run.add_event(worker.name, "ready")
    say(f"{proof} ({time.monotonic() - begin:.1f} s)")
