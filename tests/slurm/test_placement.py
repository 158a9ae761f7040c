"""Where workers land: several of a role, several on a node, jobs that share nodes, odd host names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from .cluster import Cluster, Process, wait_until
from .deploy import Launcher, Run, check_nothing_left, environ, program, shared_folder, small


@pytest.fixture
def launcher(cluster: Cluster, folder: Path) -> Launcher:
    return Launcher(cluster, folder)


def heads(run: Run) -> dict[str, list[str]]:
    """Group to the hosts of its ranks, by rank; each rank's dist-init host is checked."""
    ranks = run.ranks()
    found: dict[str, list[str]] = {}
    for key in sorted(ranks, key=lambda key: (key.split(":")[0], int(key.split(":")[1]))):
        line = ranks[key]
        hosts = found.setdefault(line["group"], [])
        assert int(line["rank"]) == len(hosts), ranks
        hosts.append(line["host"])
        head = run.launcher.cluster.address(hosts[0])
        assert line["dist-init-addr"].split(":")[0] == head, line
        assert line["address"] == run.launcher.cluster.address(line["host"]), line
    return found


def ports_of(run: Run) -> set[tuple[str, int]]:
    """(host, port) of what listens in the job's block of ports, but for loopback."""
    base = int(run.json("placement.json")["port_base"])
    cluster = run.launcher.cluster
    return {
        (host, listener.port)
        for host in cluster.hosts
        for listener in cluster.listening(host)
        if base <= listener.port < base + 256 and not listener.address.startswith("127.")
    }


def planned_ports(run: Run, prefill_head: str, decode_head: str) -> set[tuple[str, int]]:
    """What should listen: the mocker uses none of the ports that are for SGLang's own servers."""
    services = {(prefill_head, run.port(what)) for what in ("nats", "etcd", "frontend")}
    services.add((prefill_head, run.port("frontend") - 1))  # the metrics of the one behind the front
    used = ("dist_init", "system", "rpc")
    prefill = {(prefill_head, run.port(what, "prefill-0")) for what in (*used, "bootstrap")}
    return services | prefill | {(decode_head, run.port(what, "decode-0")) for what in used}


def visible_gpus(cluster: Cluster, node: str, process: Process) -> str:
    return environ(cluster, node, process)["CUDA_VISIBLE_DEVICES"]


def test_two_jobs_share_nodes(launcher: Launcher, cluster: Cluster) -> None:
    # one prefill and one decode worker of two nodes, four GPUs on each: room for two such jobs
    config = launcher.write(small(prefill=(1, 8), decode=(1, 8), gpus_per_node=4))
    jobs = [launcher.start(config, wait=None, sbatch=["--nodelist=n[001-004]"]) for _ in range(2)]
    for run in jobs:
        ready = launcher("wait", str(run.job), "--for", "ready", "--timeout", "60")
        assert ready.returncode == 0, f"{ready.stderr}\n{run.output}"
    one, two = jobs
    wanted = {"prefill-0": ["n001", "n002"], "decode-0": ["n003", "n004"]}
    assert heads(one) == heads(two) == wanted
    for run in jobs:
        assert ports_of(run) == planned_ports(run, "n001", "n003")
        run.chat("n004")
    # Slurm gave each job its own half of the node
    decoders = one.rank_processes("n003", "decode-0")
    assert {visible_gpus(cluster, "n003", p) for p in decoders} == {"0,1,2,3", "4,5,6,7"}
    # the end of one leaves the other in peace
    assert launcher("cancel", str(one.job)).returncode == 0
    assert ports_of(one) == set()
    two.chat("n001")
    assert two.status()["state"] == "RUNNING"
    assert launcher("cancel", str(two.job)).returncode == 0
    check_nothing_left(cluster)


def base_of_next_job(launcher: Launcher, config: str, *sets: str) -> tuple[int, int]:
    """A job's number, and the first port of the block that it chooses."""
    run = launcher.start(config, sets=sets, wait=None)
    run.wait_event("services", "started")
    base = int(run.json("placement.json")["port_base"])
    assert launcher("cancel", str(run.job)).returncode == 0
    return run.job, base


def test_a_block_with_a_port_that_is_not_free_is_passed_over(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(small(prefill=(1, 8), decode=(1, 8)))
    job, base = base_of_next_job(launcher, config)
    # the next job's block follows; one of its ports is taken on the node that is not the head
    listen = "import socket, sys; s = socket.create_server(('', int(sys.argv[1]))); sys.stdin.read()"
    command = [sys.executable, "-c", listen, str(base + 256 + 100)]
    taken = cluster.popen(command, "n002", stdin=PIPE)
    wait_until(lambda: cluster.listening("n002"), 5, "the port to be in use")
    assert base_of_next_job(launcher, config) == (job + 1, base + 512)
    taken.communicate(timeout=5)
    # the config's own fixed port is not free either
    fixed = f"ports.bootstrap={base + 512 + 100}"
    assert base_of_next_job(launcher, config, fixed) == (job + 2, base + 768)
    check_nothing_left(cluster)


def test_two_workers_share_a_node(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(small(prefill=(1, 4), decode=(1, 4))))
    assert heads(run) == {"prefill-0": ["n001"], "decode-0": ["n001"]}
    seen = {}
    for group in ("prefill-0", "decode-0"):
        (process,) = run.rank_processes("n001", group)
        seen[group] = visible_gpus(cluster, "n001", process)
        (engine,) = [p for p in cluster.processes("n001") if p.ppid == process.pid]
        assert program(engine) == "dynamo.mocker"
        assert visible_gpus(cluster, "n001", engine) == seen[group]
    assert seen == {"prefill-0": "0,1,2,3", "decode-0": "4,5,6,7"}
    ports = [line["dist-init-addr"] for line in run.ranks().values()]
    assert len(set(ports)) == 2
    run.chat("n002")
    assert launcher("cancel", str(run.job)).returncode == 0
    check_nothing_left(cluster)


@pytest.fixture
def odd(cluster_of: Callable[..., Cluster]) -> Iterator[Launcher]:
    """Nodes with gaps and several prefixes, defined in no alphabetical order."""
    made = cluster_of(names=["n[9-10]", "gpu-a[7,9]", "b3", "n2"], gpus=8)
    with shared_folder(made) as folder:
        yield Launcher(made, folder)


def test_workers_of_two_nodes_each_on_a_node_list_with_gaps_and_mixed_prefixes(
    odd: Launcher,
) -> None:
    run = odd.start(odd.write(small(prefill=(2, 16), decode=(1, 16))))
    placed = heads(run)
    # the allocation's node list is the order of groups and ranks, whichever order that is
    nodes = odd.cluster.job(run.job)["NodeList"]
    listed = odd.cluster.run(["scontrol", "show", "hostnames", nodes]).stdout.split()
    assert sorted(listed) == sorted(odd.cluster.hosts)
    assert placed == {
        "prefill-0": listed[0:2],
        "prefill-1": listed[2:4],
        "decode-0": listed[4:6],
    }
    answers = [run.chat("b3") for _ in range(4)]
    assert {answer["prefill"] for answer in answers} == run.workers("prefill")
    assert odd("cancel", str(run.job)).returncode == 0
    check_nothing_left(odd.cluster)
