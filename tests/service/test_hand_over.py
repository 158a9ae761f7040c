"""A hand-over and the gateway, with the real Caddy before stand-ins: streams go on, and new requests go elsewhere."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from launcher.front.caddy import DOOR, client_upstreams
from launcher.front.keys import service_folder
from launcher.run.folder import RunFolder
from launcher.run.jobstate import JobState
from launcher.service.admin import Admin
from launcher.service.door import Door
from launcher.service.gateway import Gateway
from launcher.service.queue import options
from tests.front.test_front import Front, free_ports, front


def stream(made: Front, events: int, found: list[int]) -> None:
    request = made.request("/v1/chat/completions", made.keys.endpoint, events)
    with (
        suppress(http.client.IncompleteRead, urllib.error.HTTPError),
        urllib.request.urlopen(request, timeout=30) as answer,
    ):
        found.append(sum(line.startswith(b"data: ") for line in answer))


class Kept(Thread):
    """A client that sends one request after another over a connection that it keeps open."""

    def __init__(self, port: int, key: str) -> None:
        super().__init__()
        self.port, self.key, self.over = port, key, Event()
        self.whole, self.wrong = 0, list[str]()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.connect()
        while not self.over.wait(0.003):
            try:
                headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
                connection.request("POST", "/v1/chat/completions", '{"events": 0}', headers)
                answer = connection.getresponse()
                if answer.status == 200 and answer.read().endswith(b"[DONE]\n\n"):
                    self.whole += 1
                else:
                    self.wrong.append(f"HTTP {answer.status}")
            except (OSError, http.client.HTTPException) as e:
                self.wrong.append(type(e).__name__)
                connection.close()


@contextmanager
def two_links(folder: Path) -> Iterator[tuple[Front, Front]]:
    (folder / "old").mkdir()
    (folder / "new").mkdir()
    with front(folder / "old", told=True) as old, front(folder / "new", keys=old.keys, told=True) as new:
        yield old, new


def test_streams_go_on_while_new_requests_go_to_the_next_link(tmp_path: Path) -> None:
    with two_links(tmp_path) as (old, new):
        text = (tmp_path / "old" / "secrets" / "front.json").read_text()
        admin, door, found = Admin(tmp_path / "old" / "admin.sock"), Door(tmp_path / "old", DOOR), list[int]()
        own = f"127.0.0.1:{old.frontends[0]}"
        (through,) = client_upstreams(text) - {own}
        running = Thread(target=stream, args=(old, 300, found))
        clients = [Kept(old.port, str(old.keys.endpoint)) for _ in range(8)]
        running.start()
        for client in clients:
            client.start()
        while not admin.running().get(own):
            pass
        door.lead(f"http://127.0.0.1:{new.port}", None)
        before = len(old.asked()["asked"])
        for _ in range(5):
            stream(old, 3, found)
        slow = Thread(target=stream, args=(old, 50, found))
        slow.start()
        while not admin.running().get(through):
            pass
        assert old.status("/v1/models", "wrong") == 401
        assert old.status("/metrics", old.keys.endpoint) == 403
        slow.join()
        for client in clients:
            client.over.set()
            client.join()
        running.join()
        assert sorted(found) == [4, 4, 4, 4, 4, 51, 301]
        assert len(old.asked()["asked"]) <= before + len(clients)  # those that had come before the hand-over
        assert not [wrong for client in clients for wrong in client.wrong]
        assert min(client.whole for client in clients) > 3
        assert not any(admin.running().values())
        cut = Thread(target=stream, args=(old, 500, found))
        cut.start()
        while not admin.running().get(through):
            pass
        door.close()
        door.tidy(lambda url: url.endswith(str(new.port)))  # its node is gone: the stream ends now, and not whole
        cut.join(5)
        assert not cut.is_alive()
        assert 501 not in found  # Python's client does not always say that it was cut
        assert (tmp_path / "old" / "admin.sock").stat().st_mode & 0o777 == 0o600
        door.end()


def ask(port: int, key: str | None, model: str = "", path: str = "/v1/chat/completions") -> int:
    """The status; 0 for a 503 that says when to come again."""
    body = json.dumps({"messages": [{"content": '"model": "A/x"'}], "model": model, "events": 2}).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body if model else None, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as e:
        return e.code if e.code != 503 or e.headers["Retry-After"] != "10" else 0


def link_of(runs: Path, name: str, job: int, made: Front, model: str) -> RunFolder:
    """The run folder of a link that serves, as far as the gateway looks."""
    run = RunFolder(runs / f"{name}-{job}")
    run.path.mkdir()
    run.write_json("submit.json", {"options": options(runs, name)})
    run.write_json("endpoint.json", {"url": f"http://127.0.0.1:{made.port}", "model": model, "ca": None})
    run.add_event("ready", "done")
    run.add_event("warm", "done")
    service_folder(runs, name).mkdir(exist_ok=True)
    (service_folder(runs, name) / "endpoint-key").write_text(str(made.keys.endpoint))
    return run


def test_a_gateway_knows_services_by_their_models(tmp_path: Path) -> None:
    for name in ("a", "b", "runs", "gateway"):
        (tmp_path / name).mkdir()
    (port,), said, runs = free_ports(1), list[str](), tmp_path / "runs"
    with front(tmp_path / "a") as a, front(tmp_path / "b") as b:
        one = link_of(runs, "a", 1, a, "A/x")
        gateway = Gateway(f"127.0.0.1:{port}", ["a", "b"], runs, tmp_path / "gateway", said.append)
        try:
            gateway.look()
            while ask_or(port) is None:
                pass
            assert ask(port, a.keys.endpoint, "A/x") == 200
            assert ask(port, b.keys.endpoint, "B.y") == 404  # it has never served
            link_of(runs, "b", 2, b, "B.y")
            gateway.look()
            assert ask(port, b.keys.endpoint, "B.y") == 200
            assert (len(a.asked()["asked"]), len(b.asked()["asked"])) == (1, 1)
            assert ask(port, b.keys.endpoint, "A/x") == 401  # each service asks for its own key
            assert ask(port, a.keys.endpoint, "Bzy") == 404
            assert [ask(port, made.keys.endpoint, path="/v1/models") for made in (a, b)] == [200, 200]
            assert [one["path"] for one in b.asked()["asked"]][1:] == ["/v1/models"]
            one.add_event("stop", "started")
            gateway.look()
            assert ask(port, a.keys.endpoint, path="/v1/models") == 0
            assert ask(port, b.keys.endpoint, "B.y") == 200
            b.caddy.kill()  # a job whose node is gone, which nobody has told the gateway yet
            b.caddy.wait()
            assert ask(port, b.keys.endpoint, "B.y") == 0
            link_of(runs, "b", 3, a, "B.y")
            assert gateway._child is not None
            gateway._child.kill()
            gateway._child.wait()
            gateway.look()
            assert said[-1].startswith("Caddy has ended")
            while ask_or(port) is None:
                pass
            assert ask(port, a.keys.endpoint, "B.y") == 200
        finally:
            gateway.end()


def ask_or(port: int) -> int | None:
    try:
        return ask(port, None, path="/v1/models")
    except OSError:
        return None


def test_a_request_with_the_key_wakes_a_service_that_ended_because_nobody_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "gateway").mkdir()
    (port,), runs, queued = free_ports(1), tmp_path / "runs", list[str]()
    monkeypatch.setattr("launcher.service.queue.submit_next", lambda run, after: queued.append(run.job_id) or "3")
    states = {"1": JobState("COMPLETED"), "2": JobState("CANCELLED"), "3": JobState("RUNNING")}
    monkeypatch.setattr("launcher.service.links.job_states", lambda found: [states[run.job_id] for run in found])
    with front(tmp_path / "a") as a:
        run = link_of(runs, "a", 1, a, "A/x")
        run.add_event("link", "idle", "no request for 30 m")
        run.add_event("stop", "started")
        run.add_event("stop", "done", "exit status 0")
        (run.path / "endpoint.json").unlink()
        waited = RunFolder(runs / "a-2")  # for the job before, and was ended with it
        waited.path.mkdir()
        waited.write_json("submit.json", {"options": options(runs, "a", "1")})
        gateway = Gateway(f"127.0.0.1:{port}", ["a"], runs, tmp_path / "gateway", lambda text: None)
        over = Event()

        def look() -> None:
            while not over.wait(0.05):
                gateway.look()

        gateway.look()
        looking = Thread(target=look)
        looking.start()
        try:
            while ask_or(port) is None:
                pass
            assert ask(port, "wrong", "A/x") == 401
            assert ask(port, a.keys.endpoint, path="/v1/models") == 0  # who only looks wakes nobody
            assert queued == []
            assert ask(port, a.keys.endpoint, "A/x") == 0
            assert queued == ["2"]
            link_of(runs, "a", 3, a, "A/x")
            while ask(port, a.keys.endpoint, "A/x") != 200:
                pass
            assert queued == ["2"]
        finally:
            over.set()
            looking.join()
            gateway.end()
