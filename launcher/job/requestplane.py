"""Whether workers really speak TLS on Dynamo's request plane: an older Dynamo ignores that it should."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from launcher.base.errors import WorkError
from launcher.job.keys import SERVER_NAME
from launcher.run.deployment import Deployment

_TIMEOUT = 5.0  # seconds, for a handshake with a worker that has just registered


def check_tls(deployment: Deployment) -> None:
    """Raises WorkError naming a worker whose request plane is open though security.request_plane is tls."""
    if deployment.secrets is None or deployment.plan.settings.request_plane != "tls":
        return
    for group in deployment.groups:
        error = tls_error(group.address, group.ports["rpc"], deployment.secrets)
        if error:
            raise WorkError(
                f"security.request_plane is tls, but {group.name} on {group.host} does not speak it ({error}): "
                "Dynamo 1.5 or newer is needed, or security.request_plane: open"
            )


def tls_error(host: str, port: int, keys: Path) -> str:
    """What keeps a client with the job's keys from a TLS connection; empty when nothing does."""
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    context.load_cert_chain(keys / "client.pem", keys / "client.key")
    try:
        with (
            socket.create_connection((host, port), timeout=_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=SERVER_NAME),
        ):
            return ""
    except TimeoutError:
        return f"no handshake within {_TIMEOUT:.0f} s"
    except OSError as e:
        return str(e)
