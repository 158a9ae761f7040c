"""Asking many workers and etcd: all side by side, within one limit."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.run import probe
from launcher.run.deployment import Deployment, GroupAddress


def deployment(ports: dict[str, int], health: str | None = None, etcd: int | None = None) -> Deployment:
    groups = tuple(GroupAddress(n, "decode", "h", "127.0.0.1", {"system": p, "rpc": 1}) for n, p in ports.items())
    services = {} if etcd is None else {"etcd": etcd}
    plan: Any = SimpleNamespace(health=health)
    return Deployment(plan, groups, dict.fromkeys(services, "127.0.0.1"), services, ("http://x",), None, None)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        yield server.getsockname()[1]


@pytest.fixture
def refused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def answers() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_what_each_says(silent: int, refused: int, answers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LIMIT", 1.0)
    found = probe.ask(deployment({"a-0": answers, "b-0": silent, "c-0": refused}))
    assert found.health == {"a-0": "ok", "b-0": "no answer", "c-0": "refused"}
    assert (found.leases, found.missing) == (None, ())


def test_five_hundred_that_are_silent_take_no_longer_than_one(silent: int) -> None:
    begin = time.monotonic()
    found = probe.ask(deployment({f"decode-{n}": silent for n in range(500)}, etcd=silent))
    assert time.monotonic() - begin < 3.5  # LIMIT is 2.5 s; the rest is for a slow machine
    assert set(found.health.values()) == {"no answer"}
    assert len(found.health) == 500
    assert found.leases is None
    assert any(why.startswith("etcd: no answer from 127.0.0.1:") for why in found.missing)


def test_fewer_open_files_than_workers(silent: int, answers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_open_files", lambda: probe.OPEN_FILES + 7)
    monkeypatch.setattr(probe, "LIMIT", 1.8)
    ports = {f"decode-{n}": silent if n % 2 else answers for n in range(20)}
    begin = time.monotonic()
    found = probe.ask(deployment(ports))
    assert time.monotonic() - begin < 2.3
    assert [found.health[f"decode-{n}"] for n in range(4)] == ["ok", "no answer", "ok", "no answer"]
