"""The real servers' own routes: each is let through or refused by name, so that a new one is noticed."""

from __future__ import annotations

import fnmatch
import http.client
import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest

from launcher.front import routes

from .test_front import free_ports, process


def unknown(found: Iterable[str], *lists: tuple[str, ...]) -> list[str]:
    patterns = [p for some in lists for p in some]
    return sorted(path for path in found if not any(fnmatch.fnmatchcase(path, p) for p in patterns))


def test_dynamo(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    words = [sys.executable, "-m", "dynamo.frontend", "--http-port", str(port), "--discovery-backend", "mem",
             "--event-plane", "zmq", "--enable-anthropic-api"]  # fmt: skip
    env = {**os.environ, "DYN_HTTP_HOST": "127.0.0.1", "HOME": str(tmp_path)}
    url = f"http://127.0.0.1:{port}/openapi.json"
    with process(words, port, env=env, stdout=-3, stderr=-3), urllib.request.urlopen(url, timeout=10) as answer:
        found = json.loads(answer.read())["paths"]
    assert len(found) > 15
    assert unknown(found, routes.DYNAMO, routes.DYNAMO_REFUSED) == []
    assert not set(routes.DYNAMO) & set(routes.DYNAMO_REFUSED)


def test_sglangs_router() -> None:
    """It describes nothing: every text of its binary that may be a path is asked for."""
    spec = find_spec("sglang_router")
    if spec is None or spec.origin is None:
        pytest.skip("sglang-router is not installed")
    binary = next(Path(spec.origin).parent.glob("*.so")).read_bytes()
    port, metrics = free_ports(2)
    words = [sys.executable, "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", str(port),
             "--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics), "--worker-urls"]  # fmt: skip
    candidates = set()
    for match in re.finditer(rb"/[a-z][a-z0-9_/{}\-]{2,300}", binary):
        text = match.group().decode()
        if not text.startswith(("/home", "/rustc", "/root", "/src", "/usr")):
            starts = [text[at:] for at in range(len(text)) if text[at] == "/"]
            candidates |= {start[:end] for start in starts for end in range(4, min(len(start), 48) + 1)}
    with process(words, port, stdout=-3, stderr=-3):
        time.sleep(1)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        found = []
        for candidate in sorted(candidates):
            path = re.sub(r"\{[a-z_]*\}", "x", candidate)
            if "{" not in path and "}" not in path:
                connection.request("TRACE", path)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 404:
                    found.append(path)
    assert "/v1/chat/completions" in found
    assert unknown(found, routes.ROUTER, routes.ROUTER_REFUSED) == []
    # a refusal goes before what a wide pattern would let through
    assert unknown(routes.ROUTER_REFUSED, tuple(r for r in routes.ROUTER if "*" in r)) == sorted(routes.ROUTER_REFUSED)
