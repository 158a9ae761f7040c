"""Readiness, proven: every worker registered, then a real request answered through each.

Workers that register nowhere (SGLang without Dynamo) are asked for their own health instead; where
they have none either (`dynamo serve`), the request through the frontend is all.

The frontend's /health and /v1/models are not enough: the first is 200 without any worker, and a
model is listed though every request fails when a worker advertises an address that is wrong.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from launcher.base.errors import WorkError
from launcher.job.requestplane import check_tls
from launcher.run.deployment import Deployment, GroupAddress, etcd_client, expected_workers
from launcher.run.folder import RunFolder
from launcher.run.registry import Registration, registrations

Say = Callable[[str], None]


def wait_until_ready(run: RunFolder, deployment: Deployment, timeout: float, say: Say) -> None:
    """Returns when the deployment answers through every worker.

    Records an event for each worker. Raises WorkError after `timeout` seconds, naming the workers
    that are missing and where their logs are.
    """
    begin = time.monotonic()
    if deployment.health is None:
        _wait_registered(run, deployment, begin, timeout, say)
        check_tls(deployment)
    elif deployment.health:
        _wait_healthy(run, deployment, deployment.health, begin, timeout, say)
    else:
        wait_for_chat(deployment, begin + timeout)
        for group in deployment.groups:
            run.add_event(group.name, "ready")
        say(f"a chat was answered at {deployment.endpoint} ({time.monotonic() - begin:.1f} s)")
        return
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
                missing = ", ".join(_described(run, g) for g in waiting.values())
                raise WorkError(f"not registered after {timeout:.0f} s: {missing}{error}")
            time.sleep(0.25)
    finally:
        client.close()


def _wait_healthy(
    run: RunFolder, deployment: Deployment, path: str, begin: float, timeout: float, say: Say
) -> None:
    waiting = {g.name: g for g in deployment.groups}
    last = ""
    while waiting:
        for group in list(waiting.values()):
            last = health_error(group.url + path)
            if not last:
                del waiting[group.name]
                run.add_event(group.name, "registered", group.url)
                say(f"{group.name} on {group.host} is healthy ({time.monotonic() - begin:.1f} s)")
        if waiting and time.monotonic() - begin > timeout:
            missing = ", ".join(_described(run, g) for g in waiting.values())
            raise WorkError(f"not healthy after {timeout:.0f} s: {missing}; last answer: {last}")
        time.sleep(0.25 if waiting else 0)


def health_error(url: str) -> str:
    """What is wrong there; empty when it answers 200. SGLang's /health generates a token, which
    takes as long as that does."""
    try:
        with urllib.request.urlopen(url, timeout=30):
            return ""
    except urllib.error.HTTPError as e:
        return f"HTTP status {e.code}"
    except (OSError, http.client.HTTPException) as e:
        return str(getattr(e, "reason", e))


def wait_for_chat(deployment: Deployment, deadline: float) -> None:
    """Asks until a whole answer comes: the frontend of 2025 knows chats alone, and names no workers.

    Raises WorkError at `deadline` (of the monotonic clock).
    """
    while error := _chat_error(deployment.endpoint, deployment.model):
        if time.monotonic() > deadline:
            raise WorkError(f"{deployment.endpoint} answers no chat: {error}")
        time.sleep(0.5)


def _chat_error(endpoint: str, model: str) -> str:
    message = {"role": "user", "content": "Say something."}
    body = {"model": model, "messages": [message], "max_tokens": 4, "stream": True}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{endpoint}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        # the first one may wait for kernels that are compiled
        with urllib.request.urlopen(request, timeout=600) as answer:
            text: str = answer.read().decode(errors="replace")
    except urllib.error.HTTPError as e:
        return f"HTTP status {e.code}: {e.read(200).decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as e:
        return str(getattr(e, "reason", e))
    return "" if '"choices"' in text and "[DONE]" in text and "event: error" not in text else f"not whole: {text[:200]}"


def _described(run: RunFolder, group: GroupAddress) -> str:
    return f"{group.name} on {group.host} (log {run.path}/logs/{group.name}-0.log)"


def _prove(run: RunFolder, deployment: Deployment, begin: float, timeout: float, say: Say) -> None:
    from warmup.requests import prove

    ready: list[str] = []
    for endpoint in (*deployment.endpoints, *filter(None, [deployment.balancer])):
        left = timeout - (time.monotonic() - begin)
        proof = prove(
            endpoint,
            deployment.model,
            expected_workers=expected_workers(deployment),
            time_limit=max(left, 1.0),
            interval=0.25,
        )
        if not proof.ready:
            raise WorkError(f"{endpoint}: {proof}")
        # without Dynamo an answer does not name its workers: they are healthy, and answers come
        names = [w.name for w in proof.answered] if proof.told_apart else [g.name for g in deployment.groups]
        for name in names:
            if name not in ready:
                run.add_event(name, "ready")
                ready.append(name)
        at = f" at {endpoint}" if len(deployment.endpoints) > 1 else ""
        say(f"{proof}{at} ({time.monotonic() - begin:.1f} s)")
