"""Every listening socket of a deployment on this machine, and what a stranger is told there."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from tests.front.doors import Door, port_names, undocumented

from .run import ROOT, SGL_LAUNCH, SMALL, Launcher, Run, wait_until


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
        assert status(run.url + path, admin) == (404 if path == "/busy_threshold" else 200), path
    assert (status(f"{run.url}/busy_threshold", None, off), status(f"{run.url}/busy_threshold", run.key, off)) == (
        401,
        403,
    )
    names = port_names(run.json("plan.json"), run.json("placement.json"))
    (behind,) = {f"http://127.0.0.1:{number}" for number, name in names.items() if name == "frontend"}
    assert (status(f"{behind}/v1/models"), status(f"{behind}/busy_threshold", None, off)) == (200, 404)
    said = launcher("endpoint", run.job, "--env").stdout
    assert said == f"export OPENAI_BASE_URL={run.url}/v1\nexport OPENAI_API_KEY={run.key}\n"
    assert launcher("chat", run.job).returncode == 0
    run.chat()
    assert launcher("cancel", run.job).returncode == 0
    launcher.wait_gone(timeout=2)


def test_the_readmes_first_curl(launcher: Launcher) -> None:
    """Its two lines, word for word but for where sgl-launch is."""
    run = launcher.start(*SMALL)
    lines = [line.strip() for line in (ROOT / "README.md").read_text().splitlines()]
    at = next(n for n, line in enumerate(lines) if "endpoint demo --env" in line)
    text = "\n".join(lines[at : at + 2]).replace(".venv/bin/sgl-launch", str(SGL_LAUNCH))
    assert "curl " in text
    words = ["bash", "-eu", "-c", text]
    done = subprocess.run(words, cwd=launcher.folder, env=launcher.env, capture_output=True, text=True)
    assert '"id":"tiny"' in done.stdout.replace(" ", ""), done
    assert run.key not in done.stderr
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


def test_a_unix_socket_and_no_port(launcher: Launcher) -> None:
    run = launcher.start(*SMALL, "--set=frontend.port=unix")
    path = Path(run.json("endpoint.json")["socket"])
    about = path.stat()
    assert (stat.S_IMODE(about.st_mode), about.st_uid) == (0o600, os.geteuid())
    processes = launcher.processes(run.job)
    here = os.readlink("/proc/self/ns/net")
    assert {os.readlink(f"/proc/{p.pid}/ns/net") for p in processes} - {here}
    assert here not in {os.readlink(f"/proc/{p.pid}/ns/net") for p in processes}, "nothing has a port that others see"

    def ask(*more: str, user: int = os.geteuid()) -> tuple[int, str]:
        words = ["setpriv", f"--reuid={user}", "--clear-groups"] if user != os.geteuid() else []
        words += ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", str(path), *more]
        done = subprocess.run([*words, "http://localhost/v1/models"], capture_output=True, text=True)
        return done.returncode, done.stdout

    key = ("-H", f"Authorization: Bearer {run.key}")
    assert (ask(), ask(*key)) == ((0, "401"), (0, "200"))
    if os.geteuid() == 0:
        assert ask(*key, user=65534) == (7, "000"), "another user cannot even connect"
    assert launcher("endpoint", run.job).stdout == f"unix:{path}  model tiny\n"
    assert f"export OPENAI_BASE_URL=unix:{path}\n" in launcher("endpoint", run.job, "--env").stdout
    for command in (("chat", run.job), ("warmup", run.job), ("top", run.job, "--once")):
        done = launcher(*command)
        assert done.returncode == 0, done.stderr
    status = launcher("status", run.job).stdout
    assert f"endpoint unix:{path}" in status
    assert re.search(r"prefill-0 +0 +\S+ +ready +ok", status)
    (caddy,) = [p for p in processes if "caddy" in p.argv[0]]
    os.kill(caddy.pid, signal.SIGKILL)
    run.wait_event("front", "ready", 20)
    wait_until(lambda: ask(*key) == (0, "200"), 5, "an answer at the socket again")
    assert launcher("cancel", run.job).returncode == 0
    launcher.wait_gone(timeout=2)
    assert not path.exists()


def test_a_unix_socket_is_of_one_machine(launcher: Launcher) -> None:
    done = launcher("plan", "dsr1.yaml", "--set=frontend.port=unix")
    assert done.returncode == 2
    assert "a unix socket is on one machine" in done.stderr
    done = launcher("plan", "local.yaml", "--cluster=local", "--set=frontend.port=unix", "--set=security.tls=job")
    assert "nobody can listen to a unix socket" in done.stderr
