"""A run or an address: names that are neither, and runs that have ended."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from launcher.base.errors import InputError
from launcher.plan.model import Cluster
from launcher.plan.show import to_json
from launcher.run.target import run_or_address

from .helpers import BASE, Cli, plan_of
from .test_runs import ALIVE, DEAD, add, make_run

RUNS = Path("runs")


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """One host has a name."""

    def getaddrinfo(host: str, port: object) -> list[object]:
        if host != "gpu-head":
            raise socket.gaierror(-2, "Name or service not known")
        return [host]

    monkeypatch.setattr("launcher.run.target.socket.getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    "word", ["10.0.0.1", "n001:8000", "http://n001", "localhost", "[::1]", "gpu-head", "head.example.org"]
)
def test_an_address(word: str) -> None:
    make_run("demo-L1")
    assert run_or_address(word, RUNS) is None


@pytest.mark.parametrize("command", ["chat", "warmup"])
@pytest.mark.parametrize(("word", "near"), [("dmeo", "; did you mean 'demo'?"), ("4711", "")])
def test_a_mistyped_name_is_no_host(cli: Cli, command: str, word: str, near: str) -> None:
    make_run("demo-L1")
    done = cli(command, word)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"sgl-launch: no run named '{word}' in runs/, nor a host of that name{near}\n"


def test_without_any_run() -> None:
    with pytest.raises(InputError, match="there are no runs"):
        run_or_address(None, RUNS)
    with pytest.raises(InputError, match="no run named 'demo' in runs/"):
        run_or_address("demo", RUNS)


def test_a_run_that_goes_on() -> None:
    run = make_run("demo-L1", process=ALIVE)
    found = run_or_address("demo", RUNS)
    assert found is not None
    assert found.path.samefile(run.path)


@pytest.mark.parametrize("words", [("chat", "demo"), ("warmup", "demo"), ("attach", "demo", "decode-0")])
def test_a_run_that_has_ended(cli: Cli, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when its script was killed and endpoint.json is still there."""
    run = make_run("demo-L1", process=DEAD)
    run.write_json("plan.json", to_json(plan_of(BASE)))
    run.write_json("endpoint.json", {"url": "http://10.0.0.1:8000", "model": "m"})
    add(run, (1.8e9, "serve", "failed", "decode-0 ended"), (1.8e9 + 2, "stop", "done", "exit status 137"))
    monkeypatch.setattr("launcher.run.target.time.time", lambda: 1.8e9 + 202)
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1.8e9 + 2))
    done = cli(*words)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"sgl-launch: demo-L1 has ended: FAILED (exit status 137) at {at}, 3 min 20 s ago; "
        "serve failed: decode-0 ended\n"
    )


def test_a_sweep_by_hand_keeps_the_jobs_own(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("demo-L1", process=ALIVE)
    run.write_json("plan.json", to_json(plan_of(BASE)))
    run.write_json("placement.json", {"port_base": 20000})
    (run.path / "hosts").write_text("0 n001 10.0.0.1 eth0\n1 n002 10.0.0.2 eth0\n")
    run.write_json("warmup.json", {"verdict": "warm", "cold": True})
    report = SimpleNamespace(
        verdict=SimpleNamespace(warm=True), to_dict=lambda: {"verdict": "warm"}, to_json=lambda: "{}\n"
    )
    monkeypatch.setattr("warmup.requests.run", lambda *_, **__: report)
    for number in (2, 3):
        done = cli("warmup", "demo", "--json")
        assert (done.code, done.out) == (0, "{}\n")
        assert f"written to runs/demo-L1/warmup-{number}.json\n" in done.err
        assert run.json(f"warmup-{number}.json") == {"verdict": "warm"}
    assert run.json("warmup.json") == {"verdict": "warm", "cold": True}


def test_nothing_that_a_model_says_reaches_the_terminal_as_it_is(cli: Cli) -> None:
    hostile = "\x1b]0;title\x07 \x1b]52;c;aGk=\x1b\\ \x9b31m \x1b(0 \u202e h\u00e9llo\n"
    chunk = json.dumps({"choices": [{"delta": {"content": hostile}}]}, ensure_ascii=False)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if self.path == "/v1/chat/completions" else 500)
            self.end_headers()
            self.wfile.write(f"data: {chunk}\n\ndata: [DONE]\n".encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = cli("chat", f"127.0.0.1:{server.server_address[1]}", "--model", "m")
    finally:
        server.shutdown()
        server.server_close()
    assert done.code == 0, done.err
    assert done.out == "\\x1b]0;title\\x07 \\x1b]52;c;aGk=\\x1b\\ \\x9b31m \\x1b(0 \\u202e h\u00e9llo\n\n"


@pytest.mark.parametrize(("cluster", "words"), [("local", "bash"), ("slurm", "srun --jobid=17 --overlap --pty")])
def test_attach_inside_an_allocation(cli: Cli, cluster: Cluster, words: str) -> None:
    """`submit --cluster here` runs its script on this machine, and its ranks on the allocation's nodes."""
    run = make_run("demo-17", process=ALIVE)
    run.write_json("plan.json", to_json(plan_of(BASE, cluster)))
    (run.path / "hosts").write_text("0 n000 10.0.0.1 eth0\n1 n001 10.0.0.2 eth0\n")
    done = cli("attach", "demo", "decode-0")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(words)
