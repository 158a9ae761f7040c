"""One line for whatever goes wrong between here and a server. Pure."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from typing import Any

from .http1 import BadAnswer


def http_error(status: int, body: bytes, path: str) -> str:
    """One line for an error answer, whichever of the servers' shapes it has."""
    text = body.decode("utf-8", "replace").strip()
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    said = error_text(parsed) if isinstance(parsed, dict) else " ".join(text.split())[:300]
    line = f"HTTP {status} from {path}"
    if said:
        line += f": {said}"
    elif status == 404:
        # Dynamo's frontend switches the route on with the first model.
        line += " with an empty body: no model is served there (yet)"
    return line


def error_text(event: dict[str, Any]) -> str:
    """The words in ``{"error": {"message"}}``, ``{"message"}`` or ``{"detail"}``."""
    inner = event.get("error")
    for source in (inner, event):
        if isinstance(source, str) and source:
            return source
        if isinstance(source, dict):
            for key in ("message", "detail"):
                if source.get(key):
                    said = source[key]
                    return said if isinstance(said, str) else json.dumps(said)[:300]
    return json.dumps(event)[:300]


def network_error(error: BaseException, base_url: str, timeout: float) -> str:
    """One line for a request that got no answer: what, where, and what to look at."""
    number = getattr(error, "errno", None) or getattr(getattr(error, "os_error", None), "errno", None)
    if isinstance(error, socket.gaierror) or "DNS" in type(error).__name__:
        return f"the host of {base_url} is not known: check its name"
    if number == errno.ECONNREFUSED:
        return (
            f"connection refused at {base_url}: nothing listens there; check the port, and whether the frontend is up"
        )
    if "Disconnected" in type(error).__name__ or number == errno.ECONNRESET:
        return f"{base_url} closed the connection without an answer"
    if isinstance(error, BadAnswer):
        return f"{base_url} does not speak HTTP/1.1: {error}"
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer from {base_url} within {timeout:g} s"
    return f"{base_url} cannot be reached: {error or type(error).__name__}"
