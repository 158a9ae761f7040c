"""What a running Caddy says over its socket."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from launcher.base.errors import WorkError

_LIMIT = 10.0  # seconds for an answer


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_LIMIT)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_LIMIT)
        self.sock.connect(self._path)


class Admin:
    """At a socket of this user's. Its methods raise WorkError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def running(self) -> dict[str, int]:
        """Requests that run, by the upstream as the config writes it."""
        found = json.loads(self._get("/reverse_proxy/upstreams"))
        return {one["address"]: int(one["num_requests"]) for one in found or ()}

    def _get(self, path: str) -> Any:
        connection = _Unix(self.path)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as e:
            raise WorkError(f"Caddy does not answer at {self.path}: {e}") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise WorkError(f"Caddy at {self.path}: HTTP {answer.status}: {said.decode(errors='replace')[:200]}")
        return said
