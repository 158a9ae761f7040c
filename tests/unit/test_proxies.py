"""Proxies that are set for the way out stay out of the way between a job's own processes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from launcher.job.environment import without_proxy
from launcher.render import render
from launcher.run.registry import connect, registrations

from .helpers import BASE, plan_of


@contextlib.contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port that takes connections, and the first bytes of each."""
    server = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
                peer.settimeout(2)
                with peer:
                    seen.append(peer.recv(64))
            except OSError:
                if server.fileno() < 0:
                    return

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1], seen
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_etcd_is_asked_directly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with listener() as (proxy, through_proxy), listener() as (etcd, direct):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        with contextlib.suppress(Exception):
            registrations(connect("127.0.0.1", etcd, None, timeout=1))
    assert direct
    assert not through_proxy


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, ""),
        ({"http_proxy": "http://p:1"}, ""),
        ({"no_proxy": ".corp,10.0.0.1"}, ".corp,10.0.0.1,"),
        ({"NO_PROXY": ".corp"}, ".corp,"),  # programs that look at no_proxy first keep it too
    ],
)
def test_the_jobs_addresses_get_no_proxy(given: dict[str, str], kept: str) -> None:
    found = without_proxy(given, ["10.0.0.1", "n001"])
    assert found["no_proxy"] == found["NO_PROXY"]
    assert found["no_proxy"].startswith(f"{kept}localhost,127.0.0.1")
    assert found["no_proxy"].endswith("n001")
    assert found["no_proxy"].split(",").count("10.0.0.1") == 1


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_a_configs_own_no_proxy_adds_to_the_jobs(name: str) -> None:
    script = render(plan_of(f"{BASE}env: {{http_proxy: 'http://p:1', {name}: 'a b,.corp'}}\n"))
    line = next(line.strip() for line in script.splitlines() if f"{name}=" in line)
    said = subprocess.run(
        ["bash", "-uc", f'{line}; echo "${name}"'], env={name: "10.0.0.1"}, capture_output=True, text=True, check=True
    )
    assert said.stdout == "a b,.corp,10.0.0.1\n"
