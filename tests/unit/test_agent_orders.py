"""The agent on a node (templates/node.sh): its facts, orders, and what it does at the end. Run for real, by bash."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .test_agent import ROOT

JOB = f"unit{os.getpid()}"
ENGINE = "sglang::(scheduler|detokenizer)"


class Agent:
    """On this machine, for a job of `JOB`; everything that it says, word by word."""

    def __init__(self, folder: Path, path: str | None = None, engine: str = ENGINE) -> None:
        self.scratch = folder / f"sgl-launch-{JOB}"
        words = [shutil.which("bash") or "bash", "-c", (ROOT / "templates/node.sh").read_text(), "node", "MARK"]
        env = {**os.environ, "TMPDIR": str(folder), "SLURMD_NODENAME": "n1", **({"PATH": path} if path else {})}
        env.pop("CUDA_VISIBLE_DEVICES", None)
        self.out = folder / "said"
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [*words, str(folder), self.scratch.name, engine, ""], stdin=subprocess.PIPE, stdout=out, env=env
            )

    def tell(self, order: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{order}\n".encode())
        self.process.stdin.flush()

    def said(self, kind: str) -> list[list[str]]:
        lines = [line.split() for line in self.out.read_text().splitlines()]
        assert all(words[0] == "MARK" for words in lines)
        return [words[2:] for words in lines if words[1] == kind]

    def until(self, true: Callable[[], bool], limit: float = 40.0) -> None:
        deadline = time.monotonic() + limit
        while not true():
            assert time.monotonic() < deadline, self.out.read_text()
            if (self.process.stdin and not self.process.stdin.closed) and self.process.poll() is None:
                self.tell("alive")
            time.sleep(0.05)


@pytest.fixture
def folder_of_run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "job.sh").touch()
    return tmp_path / "run"


@pytest.fixture
def agent(folder_of_run: Path) -> Iterator[Agent]:
    one = Agent(folder_of_run)
    yield one
    if one.process.poll() is None:
        one.process.stdin.close()  # type: ignore[union-attr]
        one.process.wait(40)


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Processes with the mark of a rank, or of none."""
    made: list[subprocess.Popen[bytes]] = []

    def begin(rank: str, text: str = "exec sleep 60") -> subprocess.Popen[bytes]:
        env = {**os.environ, **({"LAUNCH_RANK": f"sgl-launch-{JOB}/{rank}"} if rank else {})}
        made.append(subprocess.Popen(["bash", "-c", text], env=env, start_new_session=True, stdout=subprocess.PIPE))
        return made[-1]

    yield begin
    for process in made:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.communicate(timeout=40)


def test_facts(agent: Agent) -> None:
    agent.until(lambda: bool(agent.said("facts")))
    assert agent.said("facts") == [["n1", "all"]]
    assert ["n1", "lo", "127.0.0.1", "other"] in agent.said("address")
    assert agent.said("fault") == []
    ((host, *_),) = agent.said("ports")
    assert host == "n1"


@pytest.mark.parametrize(
    "text", ["echo welcome; set -x", "echo held", "printf no; trap 'echo bye' EXIT", "shopt -s extglob"]
)
def test_what_a_site_s_bash_env_says_is_no_answer(
    folder_of_run: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """It is read by every bash that is started, those that hold locks among them."""
    (folder_of_run / "bash_env").write_text(f"{text}\n")
    monkeypatch.setenv("BASH_ENV", str(folder_of_run / "bash_env"))
    agent = Agent(folder_of_run)

    def said() -> list[str]:
        return [line.partition(" ")[2] for line in agent.out.read_text().splitlines() if "MARK" in line]

    agent.until(lambda: any(line.startswith("facts") for line in said()))
    agent.tell("claim 19999")
    agent.until(lambda: "claimed n1 19999" in said() or "taken n1 19999" in said())
    agent.tell("end")
    agent.process.wait(40)
    assert "claimed n1 19999" in said()
    assert not agent.scratch.exists()


def test_a_node_with_many_connections(folder_of_run: Path) -> None:
    """What a node listens on must not take time by the square of its connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=2000) as server, contextlib.ExitStack() as kept:
        for _ in range(1500):
            kept.enter_context(socket.create_connection(server.getsockname()))
            kept.enter_context(server.accept()[0])
        agent = Agent(folder_of_run)
        agent.until(lambda: bool(agent.said("facts")), 5)
        ((_, ports),) = agent.said("ports")
        assert server.getsockname()[1] in [int(port, 16) for port in ports.split(",") if port]
    agent.tell("end")
    agent.process.wait(40)


@pytest.mark.parametrize("what", ["ip", "folder"])
def test_what_a_node_lacks(folder_of_run: Path, what: str) -> None:
    programs = folder_of_run / "bin"
    programs.mkdir()
    for name in ("bash", "grep", "awk", "tr", "mkdir", "mv", "rm", "flock", "uname", "sleep"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    if what == "folder":
        (folder_of_run / "job.sh").unlink()
    agent = Agent(folder_of_run, None if what == "folder" else str(programs))
    agent.until(lambda: bool(agent.said("fault")))
    wanted = {
        "ip": "the program ip (iproute2) is missing or fails",
        "folder": f"the run folder {folder_of_run} is not seen here: runs must be a folder that all nodes share",
    }
    assert agent.said("fault") == [["n1", *wanted[what].split()]]
    assert agent.said("facts") == []
    agent.tell("end")
    agent.process.wait(40)


@pytest.mark.parametrize(("order", "status"), [("stop", -15), ("kill", -9)])
def test_orders_reach_one_group_alone(agent: Agent, start: Start, order: str, status: int) -> None:
    ours, rank1, longer, other, none = map(start, ("decode-1/0", "decode-1/1", "decode-10/0", "prefill-1/0", ""))
    agent.until(lambda: bool(agent.said("facts")))
    time.sleep(0.3)
    agent.tell(f"{order} decode-1")
    agent.until(lambda: ours.poll() is not None and rank1.poll() is not None)
    assert (ours.poll(), rank1.poll()) == (status, status)
    agent.tell("ping")
    agent.until(lambda: bool(agent.said("pong")))
    assert [p.poll() for p in (longer, other, none)] == [None, None, None]


def test_the_engines_own_processes(agent: Agent, start: Start) -> None:
    """They are told with the rank that they are below of, and again when one of them has died."""
    text = "for name in scheduler detokenizer; do (exec -a sglang::$name sleep 60) & echo $!; done; wait"
    rank, foreign = start("decode-0/1", text), start("", text)
    assert rank.stdout
    scheduler, detokenizer = (int(rank.stdout.readline()) for _ in range(2))
    both = {f"decode-0/1:{scheduler}", f"decode-0/1:{detokenizer}"}
    agent.until(lambda: any({*words[1:]} == both for words in agent.said("engine")))
    os.kill(scheduler, 9)
    agent.until(lambda: agent.said("engine")[-1] == ["n1", f"decode-0/1:{detokenizer}"])
    assert foreign.poll() is None
    rank.kill()
    os.kill(detokenizer, 9)
    agent.until(lambda: agent.said("engine")[-1] == ["n1"])


def test_the_end_leaves_nothing(agent: Agent, start: Start) -> None:
    living = start("decode-0/0")
    agent.until(lambda: (agent.scratch / ".held").exists())
    (agent.scratch / "etcd").mkdir()
    agent.tell("end")
    assert agent.process.wait(40) == 0
    assert not agent.scratch.exists()
    assert living.poll() is None, "its processes were ended by their steps before"


def test_without_its_supervisor_all_of_the_job_is_ended(agent: Agent, start: Start) -> None:
    heard, deaf, foreign = start("a-0/0"), start("b-0/0", "trap '' TERM; sleep 60 & wait; sleep 60"), start("")
    agent.until(lambda: agent.scratch.exists())
    time.sleep(0.3)
    begin = time.monotonic()
    assert agent.process.stdin
    agent.process.stdin.close()
    agent.until(lambda: heard.poll() is not None and deaf.poll() is not None, 4)
    assert time.monotonic() - begin < 3.5
    assert (heard.poll(), deaf.poll(), foreign.poll()) == (-15, -9, None)
    agent.process.wait(40)
    assert not agent.scratch.exists()
