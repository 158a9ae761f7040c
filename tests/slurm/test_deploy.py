"""configs/dsr1.yaml on six nodes, the mocker in SGLang's place: two prefill and four decode nodes.

The tests share one deployment. The last one ends it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.front.doors import Door, port_names, unlisted

from .cluster import LOGIN, Cluster
from .deploy import (
    REHEARSAL,
    ROOT,
    Launcher,
    Run,
    check_nothing_left,
    environ,
    program,
    reset_all,
    shared_folder,
)

# They ask for Slurm's own credentials (docs/security.md)
SLURMS_OWN = ("slurmd", "munged", "slurmstepd", "slurmctld", "slurmdbd", "srun")
PREFILL = ["n001", "n002"]
DECODE = ["n003", "n004", "n005", "n006"]


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    """As conftest.py's, but for the module: its tests share a deployment."""
    yield
    left = reset_all()
    if left:
        pytest.fail("left after all jobs had ended:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="module")
def dsr1(nothing_left: None, cluster: Cluster) -> Iterator[Run]:
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        begin = time.monotonic()
        run = launcher.start(f"{ROOT}/configs/dsr1.yaml", sets=REHEARSAL, wait="warm")
        print(f"submit to warm, six nodes: {time.monotonic() - begin:.1f} s")
        yield run
        launcher("cancel", str(run.path))


def test_each_rank_is_as_planned(dsr1: Run, cluster: Cluster) -> None:
    wanted = {}
    for group, hosts in (("prefill-0", PREFILL), ("decode-0", DECODE)):
        port = dsr1.port("dist_init", group)
        for rank, host in enumerate(hosts):
            wanted[f"{group}:{rank}"] = {
                "group": group,
                "rank": str(rank),
                "nnodes": str(len(hosts)),
                "dist-init-addr": f"{cluster.address(hosts[0])}:{port}",
                "host": host,
                "address": cluster.address(host),
            }
    assert dsr1.ranks() == wanted


def test_a_chat_from_another_node_is_answered_at_the_head_prefill_node(dsr1: Run, cluster: Cluster) -> None:
    assert dsr1.url == f"http://{cluster.address('n001')}:8000"
    for node in ("n004", LOGIN):
        assert dsr1.chat(node)["pieces"] > 1


def test_every_listening_socket_is_documented_and_the_address_asks_for_the_key(dsr1: Run, cluster: Cluster) -> None:
    names = port_names(dsr1.json("plan.json"), dsr1.json("placement.json"))
    found = {
        Door(program(one.process), names.get(one.port, "stream"), one.address)
        for host in cluster.hosts
        for one in cluster.listening(host)
        if one.process and program(one.process) not in SLURMS_OWN
    }
    assert {"front", "frontend", "nats", "etcd", "rpc", "system"} <= {door.port for door in found}
    assert unlisted(found, {cluster.address(host) for host in cluster.hosts}) == []


def test_services_listen_on_the_head_prefill_node_alone(dsr1: Run, cluster: Cluster) -> None:
    where = {
        (program(listener.process), host, listener.address, listener.port)
        for host in cluster.hosts
        for listener in cluster.listening(host)
        if program(listener.process) in ("nats-server", "etcd")
        and not listener.address.startswith("127.")  # etcd's port for other members
    }
    head = cluster.address("n001")
    assert where == {
        ("nats-server", "n001", head, dsr1.port("nats")),
        ("etcd", "n001", head, dsr1.port("etcd")),
    }


def test_every_node_reaches_nats_and_etcd_with_the_job_s_keys(dsr1: Run, cluster: Cluster) -> None:
    script = str(Path(__file__).with_name("ask_services.py"))
    ports = [str(dsr1.port("nats")), str(dsr1.port("etcd"))]
    ask = [sys.executable, script, cluster.address("n001"), *ports]
    for host in cluster.hosts:
        done = cluster.run([*ask, str(dsr1.path / "secrets")], host)
        assert done.returncode == 0, f"{host}: {done.stderr}"
        nats, registered = done.stdout.splitlines()
        assert nats == "PONG", host
        assert int(registered) >= 2, host
    nats, etcd = cluster.run(ask, "n006").stdout.splitlines()
    assert "Authorization" in nats, "without keys"
    assert "refused" in etcd, "without keys"


def test_every_rank_knows_the_services_its_address_and_its_gpus(dsr1: Run, cluster: Cluster) -> None:
    head = cluster.address("n001")
    for group, hosts in (("prefill-0", PREFILL), ("decode-0", DECODE)):
        for host in hosts:
            (process,) = dsr1.rank_processes(host, group)
            env = environ(cluster, host, process)
            wanted = {
                "NATS_SERVER": f"nats://{head}:{dsr1.port('nats')}",
                "ETCD_ENDPOINTS": f"https://{head}:{dsr1.port('etcd')}",
                "DYN_TCP_RPC_HOST": cluster.address(host),
                "SGLANG_HOST_IP": cluster.address(host),
                "GLOO_SOCKET_IFNAME": "eth0",
                "NCCL_SOCKET_IFNAME": "=eth0",
                "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7",
                "MC_TE_METRIC": "true",
                "SGLANG_TBO_DEBUG": "1",
            }
            assert {key: env.get(key) for key in wanted} == wanted, host


def test_status(dsr1: Run) -> None:
    status = dsr1.status()
    assert (status["state"], status["stage"], status["failure"]) == ("RUNNING", "serve", None)
    assert (status["endpoint"], status["job_id"]) == (dsr1.url, str(dsr1.job))
    assert [(r["group"], r["rank"], r["host"], r["state"]) for r in status["ranks"]] == [
        *(("prefill-0", rank, host, "warm") for rank, host in enumerate(PREFILL)),
        *(("decode-0", rank, host, "warm") for rank, host in enumerate(DECODE)),
    ]
    text = dsr1.launcher("status", "dsr1").stdout
    assert all(word in text for word in ("RUNNING", "serve", dsr1.url, "n006"))
    assert max(len(line) for line in text.splitlines() if "folder" not in line) <= 80


def test_logs(dsr1: Run) -> None:
    def heads(*words: str) -> list[str]:
        done = dsr1.launcher("logs", str(dsr1.job), *words)
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if "rank: group=" in line]

    (line,) = heads("decode-0:3")
    assert line.startswith("rank: group=decode-0 rank=3 nnodes=4")
    both = heads("prefill-0")
    assert [line.split("|")[0] for line in both] == ["prefill-0-0", "prefill-0-1"]
    assert len(heads()) == 6
    wrong = dsr1.launcher("logs", str(dsr1.job), "decode-7")
    assert wrong.returncode == 2
    assert "decode-0-3" in wrong.stderr


def test_list(dsr1: Run) -> None:
    (row,) = json.loads(dsr1.launcher("list", "--json").stdout)
    assert (row["job_id"], row["name"]) == (str(dsr1.job), "dsr1")
    assert (row["state"], row["stage"]) == ("RUNNING", "serve")


def test_wait(dsr1: Run) -> None:
    warm = dsr1.launcher("wait", "dsr1", "--for", "warm")
    assert warm.returncode == 0, warm.stderr
    assert "prefill-0    registered" in warm.stderr
    done = dsr1.launcher("wait", str(dsr1.path), "--for", "done", "--timeout", "0.5")
    assert done.returncode == 1
    assert "is not done after" in done.stderr


def test_cancel_leaves_nothing(dsr1: Run, cluster: Cluster) -> None:
    begin = time.monotonic()
    done = dsr1.launcher("cancel", "dsr1")
    print(f"cancel, six nodes: {time.monotonic() - begin:.1f} s")
    assert done.returncode == 0, done
    assert "CANCELLED" in done.stdout
    check_nothing_left(cluster)
    assert cluster.wait_job(dsr1.job, 5) == "CANCELLED"
    status = dsr1.status()
    assert (status["state"], status["endpoint"]) == ("CANCELLED", None)
    assert "SIGTERM" in status["failure"]
    assert {rank["state"] for rank in status["ranks"]} == {"ended"}
    assert dsr1.output.splitlines()[-1].endswith("stopped, exit status 143: ended by SIGTERM")
    waited = dsr1.launcher("wait", "dsr1", "--for", "done")
    assert waited.returncode == 1
    assert "SIGTERM" in waited.stderr
    again = dsr1.launcher("cancel", "dsr1")
    assert again.returncode == 0
    assert "had ended already: CANCELLED" in again.stdout
