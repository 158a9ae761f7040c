"""The real Caddy with our config, before stand-ins of frontends: who gets in, to what, and how streams end."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest

from launcher.front.caddy import Address, Gate, config
from launcher.front.keys import Keys, make_keys, read_keys
from launcher.front.named import Key, digest_of, parse
from launcher.front.routes import DYNAMO
from launcher.job.keys import make_certificates

CADDY = Path(sys.executable).with_name("caddy")
UPSTREAM = Path(__file__).with_name("upstream.py")
ALICE = "alice-has-a-key"


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextmanager
def process(words: list[str], port: int | None, **more: object) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(words, **more)  # type: ignore[call-overload]
    try:
        end = time.monotonic() + 20
        while port is not None and time.monotonic() < end:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield started
    finally:
        started.kill()
        started.wait()


class Front:
    """Caddy before some stand-ins."""

    def __init__(self, folder: Path, keys: Keys, port: int, frontends: list[int], log: Path) -> None:
        self.folder, self.keys, self.port, self.frontends, self.log = folder, keys, port, frontends, log
        self.caddy: subprocess.Popen[bytes]
        self.behind: list[subprocess.Popen[bytes]] = []

    def request(self, path: str, key: str | None = None, events: int | None = None, header: str = "Authorization"):  # type: ignore[no-untyped-def]
        headers = {"Content-Type": "application/json"}
        if key:
            headers[header] = f"Bearer {key}" if header == "Authorization" else key
        data = json.dumps({"events": events}).encode() if events is not None else None
        return urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)

    def status(self, path: str, key: str | None = None, header: str = "Authorization") -> int:
        try:
            with urllib.request.urlopen(self.request(path, key, header=header), timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as e:
            return e.code

    def asked(self, turn: int = 0) -> dict[str, list[dict[str, object]]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.frontends[turn]}/asked", timeout=5) as answer:
            return json.loads(answer.read())  # type: ignore[no-any-return]


@contextmanager
def front(
    tmp_path: Path, guarded: bool = True, count: int = 1, named: bool = False, told: bool = False,
    keys: Keys | None = None,
) -> Iterator[Front]:  # fmt: skip
    made_here = make_keys(tmp_path / "secrets", guarded)
    keys = keys or made_here
    port, *frontends = free_ports(1 + count)
    address = Address((f"127.0.0.1:{port}",), tuple(f"127.0.0.1:{p}" for p in frontends), DYNAMO, keys, named=named)
    file = tmp_path / "secrets" / "front.json"
    file.write_text(config(address, None, 20, told))
    made = Front(tmp_path, keys, port, frontends, tmp_path / "log")
    with ExitStack() as stack:
        for one in frontends:
            made.behind.append(stack.enter_context(process([sys.executable, str(UPSTREAM), str(one)], one)))
        log = stack.enter_context(made.log.open("wb"))
        env = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
        words = [str(CADDY), "run", "--config", str(file)]
        made.caddy = stack.enter_context(process(words, port, stdout=log, stderr=log, env=env))
        yield made


PATHS = ["/v1/models", "/health", "/v1/models/deepseek-ai/DeepSeek-R1"]
REFUSED = [
    "/metrics",
    "/busy_threshold",
    "/BUSY_THRESHOLD",
    "//busy_threshold",
    "/v1/../busy_threshold",
    "/v1/models/..%2f..%2fbusy_threshold",
    "/v1/models/%2e%2e/%2e%2e/metrics",
    "/frontend-0/metrics",
    "/",
]


def test_who_gets_in(tmp_path: Path) -> None:
    with front(tmp_path) as made:
        for path in [*PATHS, *REFUSED]:
            assert made.status(path) == 401, path
            assert made.status(path, "wrong") == 401, path
        assert [made.status(p, made.keys.endpoint) for p in PATHS] == [200] * len(PATHS)
        assert [made.status(p, made.keys.endpoint, "X-Api-Key") for p in PATHS] == [200] * len(PATHS)
        assert [made.status(p, made.keys.endpoint) for p in REFUSED] == [403] * len(REFUSED)
        assert made.status("/busy_threshold", made.keys.admin) == 200
        asked = made.asked()["asked"]
        assert not [one for one in asked if {"Authorization", "X-Api-Key"} & set(one["headers"])]  # type: ignore[call-overload]
        log = made.log.read_text()
        assert '"key":"job"' in log
        assert '"key":"admin"' in log
        for key in (made.keys.endpoint, made.keys.admin, "wrong"):
            assert key is not None
            assert key not in log
        environ = (
            Path(f"/proc/{made.caddy.pid}/environ").read_text() + Path(f"/proc/{made.caddy.pid}/cmdline").read_text()
        )
        assert "sk-" not in environ


def test_open_lets_the_inference_api_through_and_nothing_else(tmp_path: Path) -> None:
    with front(tmp_path, guarded=False) as made:
        assert [made.status(p) for p in PATHS] == [200] * len(PATHS)
        assert [made.status(p) for p in REFUSED] == [403] * len(REFUSED)
        assert made.status("/metrics", made.keys.admin) == 200
        assert not (tmp_path / "secrets" / "endpoint-key").exists()


def test_named_keys_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# nobody yet\n")
    words = [sys.executable, "-m", "launcher.front.named", str(file), str(tmp_path / "named-keys.sock")]
    with front(tmp_path, named=True) as made, process(words, None):
        while not (tmp_path / "named-keys.sock").exists():
            time.sleep(0.05)
        assert made.status("/v1/models", ALICE) == 401
        file.write_text(f"alice:{hashlib.sha256(ALICE.encode()).hexdigest()}\n")
        time.sleep(3)
        assert made.status("/v1/models", ALICE) == 200
        assert made.status("/metrics", ALICE) == 403
        assert made.status("/v1/models", ALICE + "x") == 401
        assert '"key":"alice"' in made.log.read_text()
        assert ALICE not in made.log.read_text()
        file.unlink()
        time.sleep(3)
        assert made.status("/v1/models", ALICE) == 401
        assert made.status("/v1/models", made.keys.endpoint) == 200


def test_a_stream_comes_at_once_and_whole_though_the_front_is_ending(tmp_path: Path) -> None:
    with front(tmp_path) as made:
        began = time.monotonic()
        with urllib.request.urlopen(made.request("/v1/chat/completions", made.keys.endpoint, 50), timeout=20) as answer:
            assert answer.readline() == b"data: 0\n"
            assert time.monotonic() - began < 0.5
            made.caddy.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with socket.socket() as late:
                assert late.connect_ex(("127.0.0.1", made.port)) != 0, "a new one is refused"
            assert answer.read().endswith(b"data: 49\n\ndata: [DONE]\n\n")
        assert made.caddy.wait(5) == 0


def test_a_client_that_goes_ends_its_request_behind_too(tmp_path: Path) -> None:
    with front(tmp_path) as made:
        answer = urllib.request.urlopen(made.request("/v1/chat/completions", made.keys.endpoint, 2000), timeout=20)
        answer.readline()
        answer.close()
        end = time.monotonic() + 5
        while not made.asked()["cut"]:
            assert time.monotonic() < end, "it still runs"
            time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_frontend_that_is_dead_or_hangs_is_passed_over(tmp_path: Path, number: int) -> None:
    with front(tmp_path, count=2) as made:
        time.sleep(1.5)  # until both have been asked once
        os.kill(made.behind[0].pid, number)
        if number == signal.SIGSTOP:
            time.sleep(3.5)
        began = time.monotonic()
        assert [made.status("/v1/models", made.keys.endpoint) for _ in range(20)] == [200] * 20
        assert time.monotonic() - began < 3


def test_an_error_shows_no_key(tmp_path: Path) -> None:
    with front(tmp_path) as made:
        made.behind[0].kill()
        made.behind[0].wait()
        assert made.status("/v1/models?api_key=in-the-query", made.keys.endpoint, "X-Api-Key") == 502
        log = made.log.read_text()
        assert '"level":"error"' in log
        assert str(made.keys.endpoint) not in log
        assert "in-the-query" not in log


def test_several_frontends_are_called_with_the_jobs_certificate(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "secrets", True)
    make_certificates(tmp_path / "secrets", [], "user")
    port, gate, frontend = free_ports(3)
    folder, at = str(tmp_path / "secrets"), f"127.0.0.1:{gate}"
    address = Address((f"127.0.0.1:{port}",), (at, at), DYNAMO, keys, job_keys=folder)
    file = tmp_path / "secrets" / "front.json"
    file.write_text(config(address, Gate(at, f"127.0.0.1:{frontend}", folder), 5))
    made = Front(tmp_path, keys, port, [frontend], tmp_path / "log")
    env = {"HOME": str(tmp_path)}
    with (
        process([sys.executable, str(UPSTREAM), str(frontend)], frontend),
        process([str(CADDY), "run", "--config", str(file)], port, env=env, stderr=subprocess.DEVNULL),
    ):
        assert made.status("/v1/models", keys.endpoint) == 200
        assert made.status("/frontend-1/metrics", keys.endpoint) == 403
        assert made.status("/frontend-1/metrics", keys.admin) == 200
        assert [one["path"] for one in made.asked()["asked"]] == ["/v1/models", "/metrics"]
        without = ssl.create_default_context(cafile=f"{folder}/ca.pem")
        with pytest.raises(OSError, match=r"certificate required|reset|closed|EOF"):
            urllib.request.urlopen(f"https://{at}/v1/models", timeout=5, context=without)


def test_requests_wait_for_a_frontend_that_is_started_again(tmp_path: Path) -> None:
    with front(tmp_path) as made:
        made.behind[0].kill()
        made.behind[0].wait()
        port = made.frontends[0]
        with ExitStack() as stack:
            asking = subprocess.Popen(
                [sys.executable, "-c", "import sys, urllib.request as r\n"
                 "print(r.urlopen(r.Request(sys.argv[1], headers={'X-Api-Key': sys.argv[2]}), timeout=20).status)",
                 f"http://127.0.0.1:{made.port}/v1/models", str(made.keys.endpoint)],
                stdout=subprocess.PIPE)  # fmt: skip
            time.sleep(1)
            stack.enter_context(process([sys.executable, str(UPSTREAM), str(port)], port))
            assert asking.communicate(timeout=20)[0] == b"200\n"


def test_keys_are_files_of_their_owner(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "secrets", True)
    assert read_keys(tmp_path / "secrets") == keys
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "secrets").iterdir()} == {0o600}
    assert keys.endpoint not in repr(keys)
    assert keys.endpoint != keys.admin
    with pytest.raises(FileExistsError):
        make_keys(tmp_path / "secrets", True)


def test_the_file_of_named_keys() -> None:
    digest, other = hashlib.sha256(b"k").hexdigest(), hashlib.sha256(b"l").hexdigest()
    text = f"# comment\n\nbob:{digest.upper()}\nno-hash:abc\n:{digest}\nzoe:{other}:3\nzoe:{other}:0\nzoe:{other}:\n"
    assert parse(text) == ({digest: Key("bob"), other: Key("zoe", 3)}, [4, 5, 7, 8])
    assert digest_of("Bearer k") == digest_of("bearer k") == digest
    assert digest_of("Basic k") == digest_of("") == ""


def test_a_named_key_has_so_many_requests_at_once(tmp_path: Path) -> None:
    file, sock = tmp_path / "keys", tmp_path / "named-keys.sock"
    digest = hashlib.sha256(ALICE.encode()).hexdigest()
    file.write_text(f"alice:{digest}:2\n")
    words = [sys.executable, "-m", "launcher.front.named", str(file), str(sock)]
    with front(tmp_path, named=True) as made, process(words, None):
        while not sock.exists():
            time.sleep(0.05)

        def stream(key: str | None) -> HTTPResponse:
            answer: HTTPResponse = urllib.request.urlopen(made.request("/v1/chat/completions", key, 2000), timeout=20)
            assert answer.readline() == b"data: 0\n"
            return answer

        first, second = stream(ALICE), stream(ALICE)
        assert made.status("/v1/models", ALICE) == 429
        assert made.status("/v1/models", made.keys.endpoint) == 200
        assert [
            line for line in made.log.read_text().splitlines() if '"status":429' in line and '"key":"alice"' in line
        ]
        first.close()  # a client that goes makes room
        end = time.monotonic() + 5
        while made.status("/v1/models", ALICE) == 429:
            assert time.monotonic() < end, "its request still counts"
            time.sleep(0.05)
        assert [made.status("/v1/models", ALICE) for _ in range(20)] == [200] * 20  # and so does one that ended
        file.write_text(f"alice:{digest}:1\n")  # holds for the streams that run already, and ends none
        time.sleep(3)
        assert made.status("/v1/models", ALICE) == 429
        assert second.readline() == b"\n"
        file.write_text(f"alice:{digest}\n")
        time.sleep(3)
        more = [stream(ALICE) for _ in range(30)]
        assert made.status("/v1/models", ALICE) == 200
        for one in (*more, second):
            one.close()
