"""Wait until NATS and etcd do their work: a message comes back, a key can be read."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from launcher.base.errors import WorkError
from launcher.run.deployment import Deployment, etcd_client

NATS_USER = "sgl-launch"


async def nats_connection(deployment: Deployment) -> Any:
    """A connection to the job's NATS, with the job's keys if it has some; raises nats' exceptions."""
    import nats

    async def quiet(error: Exception) -> None:
        """The client prints a traceback for each refused connection unless it is given this."""

    options: dict[str, Any] = {
        "connect_timeout": 2,
        "reconnect_time_wait": 0.05,  # its own 2 s also stand before the error of a first, refused try
        "allow_reconnect": False,
        "max_reconnect_attempts": 0,
        "error_cb": quiet,
    }
    if keys := deployment.secrets:
        options.update(user=NATS_USER, password=(keys / "nats-password").read_text().rstrip("\n"))
        if deployment.nats_tls:
            options["tls"] = client_context(keys)
    scheme = "tls" if "tls" in options else "nats"
    at = f"{deployment.service_hosts['nats']}:{deployment.service_ports['nats']}"
    return await nats.connect(f"{scheme}://{at}", **options)


def client_context(keys: Path) -> ssl.SSLContext:
    """For TLS with the job's keys, on the client's side."""
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    context.load_cert_chain(keys / "client.pem", keys / "client.key")
    return context


async def ask_nats(deployment: Deployment) -> None:
    """One message there and back; raises nats' exceptions."""
    client = await nats_connection(deployment)
    try:
        subscription = await client.subscribe("sgl-launch.ready")
        await client.publish("sgl-launch.ready", b"?")
        await subscription.next_msg(timeout=2)
        await client.jetstream().account_info()
    finally:
        await client.close()


async def ask_etcd(deployment: Deployment) -> None:
    """One key written and read; raises pyetcd's exceptions."""

    def ask() -> None:
        client = etcd_client(deployment, timeout=2)
        try:
            client.put("sgl-launch/ready", "1")
            client.get("sgl-launch/ready")
        finally:
            client.close()

    await asyncio.to_thread(ask)


ASK: dict[str, Callable[[Deployment], Awaitable[None]]] = {"nats": ask_nats, "etcd": ask_etcd}


async def wait_for_services(
    deployment: Deployment, timeout: float, answered: Callable[[str, float], None], names: Iterable[str] = tuple(ASK)
) -> None:
    """Ask NATS and etcd, side by side, until all that are named answer; `answered` is told the name and the seconds it
    took. Raises WorkError when one does not within `timeout` seconds, with its last answer."""
    begin = time.monotonic()

    async def wait(name: str) -> None:
        while True:
            try:
                await ASK[name](deployment)
                break
            except ImportError as e:
                raise WorkError(f"sgl-launch is installed without a part that it needs: {e}") from None
            except Exception as e:  # every client library has its own; all mean "not yet"
                if time.monotonic() - begin > timeout:
                    where = f"{deployment.service_hosts[name]}:{deployment.service_ports[name]}"
                    said = f"{type(e).__name__} {e}".strip()
                    raise WorkError(f"{name} did not answer at {where} within {timeout:.0f} s ({said})") from None
            await asyncio.sleep(0.1)
        answered(name, time.monotonic() - begin)

    await asyncio.gather(*map(wait, names))
