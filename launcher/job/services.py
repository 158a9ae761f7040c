"""Wait until NATS and etcd do their work: a message comes back, a key can be read."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any

from launcher.base.errors import WorkError
from launcher.run.deployment import Deployment, etcd_client

NATS_USER = "sgl-launch"


async def nats_connection(deployment: Deployment) -> Any:
    """A connection to the job's NATS, with the job's keys if it has some; raises nats' exceptions."""
    import nats

    async def quiet(error: Exception) -> None:
        """The client prints a traceback for each refused connection unless it is given this."""

    address = f"{deployment.service_hosts['nats']}:{deployment.service_ports['nats']}"
    options: dict[str, Any] = {
        "connect_timeout": 2,
        "allow_reconnect": False,
        "max_reconnect_attempts": 0,
        "error_cb": quiet,
    }
    if deployment.secrets is None:
        return await nats.connect(f"nats://{address}", **options)
    options.update(user=NATS_USER, password=(deployment.secrets / "nats-password").read_text().rstrip("\n"))
    if not deployment.nats_tls:
        return await nats.connect(f"nats://{address}", **options)
    context = ssl.create_default_context(cafile=str(deployment.secrets / "ca.pem"))
    context.load_cert_chain(deployment.secrets / "client.pem", deployment.secrets / "client.key")
    return await nats.connect(f"tls://{address}", tls=context, **options)


async def _ask_nats(deployment: Deployment) -> None:
    client = await nats_connection(deployment)
    try:
        subscription = await client.subscribe("sgl-launch.ready")
        await client.publish("sgl-launch.ready", b"?")
        await subscription.next_msg(timeout=2)
        await client.jetstream().account_info()
    finally:
        await client.close()


def _ask_etcd(deployment: Deployment) -> None:
    client = etcd_client(deployment, timeout=2)
    try:
        client.put("sgl-launch/ready", "1")
        client.get("sgl-launch/ready")
    finally:
        client.close()


def wait_for_services(deployment: Deployment, timeout: float) -> dict[str, float]:
    """Ask NATS and etcd until both answer; returns the seconds each took.

    Raises WorkError when one does not within `timeout` seconds, with its last answer.
    """
    import nats  # noqa: F401 - what is not installed is said at once, not after `timeout`
    import pyetcd  # noqa: F401

    begin = time.monotonic()
    took: dict[str, float] = {}
    last: dict[str, str] = {}
    while len(took) < 2:
        for name in ("nats", "etcd"):
            if name in took:
                continue
            try:
                if name == "nats":
                    asyncio.run(_ask_nats(deployment))
                else:
                    _ask_etcd(deployment)
                took[name] = time.monotonic() - begin
            except Exception as e:  # every client library has its own; all mean "not yet"
                last[name] = f"{type(e).__name__} {e}".strip()
        if len(took) < 2 and time.monotonic() - begin > timeout:
            missing = ", ".join(f"{n} ({last[n]})" for n in last if n not in took)
            raise WorkError(f"no answer within {timeout:.0f} s from {missing}")
        time.sleep(0.1 if len(took) < 2 else 0)
    return took
