"""What answers for a service that has ended because nobody asked, and begins it again at the next request.

A server at a socket without threads: who owns it calls `answer` now and then.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from launcher.front.caddy import unavailable
from launcher.front.keys import Keys

_CLIENT = 2.0  # seconds for a client to send its request


class Waker(socketserver.UnixStreamServer):
    """At `path`. `wake` is called at a POST request with the service's key."""

    timeout = 0.0  # of handle_request: it returns when nobody asks
    request_queue_size = 128

    def __init__(self, path: Path, keys: Callable[[], Keys], wake: Callable[[], None]) -> None:
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Answer)
        self.keys, self.wake, self.busy = keys, wake, False

    def answer(self) -> None:
        """All that ask now."""
        self.busy = True
        while self.busy:
            self.busy = False
            self.handle_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no matter."""


class _Answer(BaseHTTPRequestHandler):
    server: Waker
    timeout = _CLIENT

    def _answer(self) -> None:
        self.server.busy = True
        keys = self.server.keys()
        given = {self.headers.get("X-Api-Key"), (self.headers.get("Authorization") or "").removeprefix("Bearer ")}
        known = {one for one in (keys.endpoint, keys.admin) if one}
        if known and not given & known:
            return self._send(401, {"error": {"message": "a key is needed: Authorization: Bearer KEY", "code": 401}})
        if self.command == "POST":
            self.server.wake()
        made = unavailable("the service had ended because nobody asked, and is being started: try again later")
        self._send(503, json.loads(made["body"]), {"Retry-After": made["headers"]["Retry-After"][0]})

    do_GET = do_HEAD = do_POST = _answer

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        more = {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close"}
        for name, value in {**more, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(data)

    def address_string(self) -> str:
        return "gateway"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
