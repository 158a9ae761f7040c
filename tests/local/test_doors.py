"""Every listening socket of a deployment on this machine, and what a stranger is told there."""

from __future__ import annotations

import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from tests.front.doors import Door, port_names, undocumented

from .run import SMALL, Launcher, Run


def doors(run: Run) -> set[Door]:
    pids = {p.pid: Path(p.argv[0]).name for p in run.launcher.processes(run.job)}
    names = port_names(run.json("plan.json"), run.json("placement.json"))
    said = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    found = set()
    for line in said.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        for pid in map(int, re.findall(r"pid=(\d+)", line)):
            if pid in pids:
                found.add(Door(pids[pid], names.get(int(port), "stream"), address))
    return found


def status(url: str, key: str | None = None, body: bytes | None = None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as e:
        return e.code


def test_a_stranger_finds_no_open_door(launcher: Launcher) -> None:
    run = launcher.start(*SMALL)
    found = doors(run)
    assert {"front", "frontend", "nats", "etcd", "bootstrap", "rpc", "system"} <= {d.port for d in found}
    assert undocumented(found, {"127.0.0.1"}) == []
    off = b'{"model": "tiny", "active_decode_blocks_threshold": 0}'
    admin = (run.path / "secrets" / "admin-key").read_text()
    for path, expected in (("/v1/models", 200), ("/health", 200), ("/metrics", 403), ("/busy_threshold", 403)):
        assert status(run.url + path) == 401, path
        assert status(run.url + path, run.key) == expected, path
        assert status(run.url + path, admin) == 200, path
    assert (status(f"{run.url}/busy_threshold", None, off), status(f"{run.url}/busy_threshold", run.key, off)) == (
        401,
        403,
    )
    said = launcher("endpoint", run.job, "--env").stdout
    assert said == f"export OPENAI_BASE_URL={run.url}/v1\nexport OPENAI_API_KEY={run.key}\n"
    assert launcher("chat", run.job).returncode == 0
    run.chat()
    assert launcher("cancel", run.job).returncode == 0
    launcher.wait_gone(timeout=2)


def test_tls_by_the_jobs_own_authority(launcher: Launcher) -> None:
    run = launcher.start(*SMALL, "--set=security.tls=job")
    assert run.url.startswith("https://")
    assert launcher("chat", run.job).returncode == 0
    ca = launcher("endpoint", run.job, "--ca").stdout.strip()
    words = ["curl", "--silent", "--cacert", ca, "-H", f"Authorization: Bearer {run.key}", f"{run.url}/v1/models"]
    assert '"tiny"' in subprocess.run(words, capture_output=True, text=True).stdout
    assert f"export SSL_CERT_FILE={ca}" in launcher("endpoint", run.job, "--env").stdout
    assert launcher("cancel", run.job).returncode == 0
    launcher.wait_gone(timeout=2)


def test_open_says_so_and_the_front_comes_back(launcher: Launcher) -> None:
    run = launcher.start(*SMALL, "--set=security.endpoint=open")
    assert (status(f"{run.url}/v1/models"), status(f"{run.url}/busy_threshold")) == (200, 403)
    assert "open: anyone who reaches it" in launcher("status", run.job).stdout
    (caddy,) = [p for p in launcher.processes(run.job) if "caddy" in p.argv[0]]
    subprocess.run(["kill", "-KILL", str(caddy.pid)], check=True)
    run.wait_event("front", "ready", 20)
    assert status(f"{run.url}/v1/models") == 200
    assert launcher("cancel", run.job).returncode == 0
    launcher.wait_gone(timeout=2)
