"""Every shape of a deployment on a Slurm cluster: the mocker in SGLang's place, or a stand-in of
SGLang's own server behind SGLang's real router."""

from __future__ import annotations

import re
import sys
import time

import pytest

from launcher.front import routes
from tests.slurm.cluster import LOGIN, Cluster, wait_until
from tests.slurm.deploy import CHAT, MODEL, Launcher, Run, check_nothing_left, program
from tests.slurm.test_strangers import stranger

from .configs import config, role


def ask(run: Run, url: str | None = None, node: str = LOGIN, key: str = "") -> str:
    """The text of a chat that was answered."""
    words = [sys.executable, str(CHAT), url or run.url, MODEL]
    done = run.launcher.cluster.run(words, node, env={"OPENAI_API_KEY": key or run.key})
    assert done.returncode == 0, done.stderr
    return done.stdout


def end(run: Run, cluster: Cluster) -> None:
    assert run.launcher("cancel", str(run.path)).returncode == 0
    check_nothing_left(cluster)


def hosts_of(run: Run) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, line in sorted(run.ranks().items()):
        found.setdefault(key.split(":")[0], []).append(line["host"])
    return found


@pytest.mark.parametrize(
    ("workers", "gpus", "hosts"),
    [
        (2, 16, {"aggregated-0": ["n001", "n002"], "aggregated-1": ["n003", "n004"]}),
        (3, 4, {"aggregated-0": ["n001"], "aggregated-1": ["n001"], "aggregated-2": ["n002"]}),
    ],
)
def test_aggregated(
    slurm: Launcher, cluster: Cluster, workers: int, gpus: int, hosts: dict[str, list[str]]
) -> None:
    run = slurm.start(slurm.write(config(aggregated=role(workers, gpus))))
    assert hosts_of(run) == hosts
    assert {group for group, state, _ in run.events() if state == "ready"} >= set(hosts)
    ask(run)
    end(run, cluster)


def test_sglang_behind_its_own_router(slurm: Launcher, cluster: Cluster) -> None:
    sweep = {"enabled": True, "prompt_tokens": [64], "concurrency": [4], "output_tokens": [8], "timeout": 60}
    text = config("sglang", prefill=role(2, 16), decode=role(2, 8), warmup={"requests": sweep})
    run = slurm.start(slurm.write(text), wait="warm")
    assert hosts_of(run) == {
        "prefill-0": ["n001", "n002"],
        "prefill-1": ["n003", "n004"],
        "decode-0": ["n005"],
        "decode-1": ["n006"],
    }
    # the stand-in's decode side names the prefill worker whose bootstrap server it has reached
    assert re.search(r'"prefill-[01] decode-[01] ', ask(run, node="n006"))
    # another user is told nothing; with the key the inference API alone passes
    address, port = run.url.removeprefix("http://").split(":")
    paths = [path.removesuffix("/*") for path in (*routes.ROUTER, *routes.ROUTER_REFUSED)]
    without, with_key = (stranger(cluster, "login", [(address, int(port), paths)], key)[0] for key in (None, run.key))
    assert {answer for told in without.values() for answer in told} == {"401"}
    shut = {path for path, told in with_key.items() if "403" in told}
    assert shut == {"/", *(path.removesuffix("/*") for path in routes.ROUTER_REFUSED)}
    assert with_key["/v1/models"][0] == "200"
    names = {program(listener.process) for host in cluster.hosts for listener in cluster.listening(host)}
    assert not names & {"nats-server", "etcd"}
    assert "services" not in {stage for stage, _, _ in run.events()}
    end(run, cluster)


def test_sglang_aggregated(slurm: Launcher, cluster: Cluster) -> None:
    run = slurm.start(slurm.write(config("sglang", aggregated=role(2, 16))))
    assert "aggregated-" in ask(run)
    end(run, cluster)


def test_a_worker_of_sglang_that_dies_comes_back(slurm: Launcher, cluster: Cluster) -> None:
    run = slurm.start(slurm.write(config("sglang", prefill=role(), decode=role(2))))
    (process,) = [p for p in cluster.processes("n003") if "sglang.launch_server" in p.argv]
    cluster.run(["kill", "-KILL", str(process.pid)], "n003", check=True)
    run.wait_event("decode-1", "restarting")
    began = [event[:2] for event in run.events()].index(("decode-1", "restarting"))
    wait_until(
        lambda: ("decode-1", "ready") in [event[:2] for event in run.events()[began:]], 40, "decode-1 to be back"
    )
    ask(run)
    end(run, cluster)


@pytest.mark.parametrize("mode", ["random", "round-robin", "kv"])
def test_router_modes_and_several_frontends(slurm: Launcher, cluster: Cluster, mode: str) -> None:
    text = config(prefill=role(2), decode=role(2), frontend={"port": 8000, "replicas": 3, "router_mode": mode})
    run = slurm.start(slurm.write(text))
    assert run.url == f"http://{cluster.address('n001')}:8000"
    admin = (run.path / "secrets" / "admin-key").read_text()
    for turn in range(3):
        ask(run, f"{run.url}/frontend-{turn}", key=admin)
    # a frontend is on its node's loopback, and its gate takes holders of the job's certificate alone
    base = run.json("placement.json")["port_base"]
    for node in ("n001", "n002", "n003"):
        where = {one.address for one in cluster.listening(node) if one.port == base + 3}
        assert where == {"127.0.0.1"}, node
        gate = f"https://{cluster.address(node)}:{base + 6}/health"
        refused = cluster.run(["curl", "--silent", "--insecure", "--max-time", "5", gate], LOGIN)
        assert (refused.returncode != 0, refused.stdout) == (True, ""), node
    # the one that hangs is passed over
    (process,) = [p for p in cluster.processes("n002") if "dynamo.frontend" in p.argv]
    cluster.run(["kill", "-STOP", str(process.pid)], "n002", check=True)
    time.sleep(4)
    for _ in range(6):
        ask(run)
    cluster.run(["kill", "-CONT", str(process.pid)], "n002", check=True)
    end(run, cluster)


def test_services_on_a_node_of_their_own(slurm: Launcher, cluster: Cluster) -> None:
    run = slurm.start(slurm.write(config(services={"where": "own"})))
    where = {
        (program(listener.process), host)
        for host in cluster.hosts
        for listener in cluster.listening(host)
        if program(listener.process) in ("nats-server", "etcd")
    }
    assert where == {("nats-server", "n003"), ("etcd", "n003")}
    assert run.url.startswith(f"http://{cluster.address('n001')}:")
    run.chat(LOGIN)
    end(run, cluster)


def test_two_jobs_share_services_given_by_address(slurm: Launcher, cluster: Cluster) -> None:
    """The second and third job use the first one's NATS and etcd, with its keys."""
    first = slurm.start(slurm.write(config(name="owner", services={"where": "own"}, aggregated=role()), "owner.yaml"))
    base, host = first.json("placement.json")["port_base"], cluster.address("n002")
    services = {
        "where": "external",
        "nats": f"nats://{host}:{base}",
        "etcd": f"https://{host}:{base + 1}",
        "keys": str(first.path / "secrets"),
    }
    second = slurm.start(slurm.write(config(services=services), "second.yaml"))
    third = slurm.start(slurm.write(config(services=services, aggregated=role()), "third.yaml"))
    assert not second.has("services", "started")
    second.chat(LOGIN)
    ask(third)
    for run in (third, second):
        assert slurm("cancel", str(run.path)).returncode == 0
    end(first, cluster)
