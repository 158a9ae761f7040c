"""Prefill and decode in partitions of different kinds: one job of Slurm with two components."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .cluster import Cluster, wait_until
from .deploy import REHEARSAL, Launcher, Run, check_nothing_left, shared_folder, small
from .test_placement import heads, visible_gpus

# decode's partition has the nodes that Slurm lists first, so that an order by name would be wrong
PARTITIONS = "PartitionName=h200 Nodes=n[001-004] State=UP\nPartitionName=h100 Nodes=n[005-006] State=UP"
PREFILL, DECODE = ["n005", "n006"], ["n001", "n002"]


@pytest.fixture
def launcher(cluster_of: Callable[..., Cluster]) -> Iterator[Launcher]:
    """Four nodes of 4 GPUs in the partition h200, two of 8 in h100."""
    made = cluster_of(names=["n[001-004]", "n[005-006]"], gpus=[4, 8], extra_conf=PARTITIONS)
    with shared_folder(made) as folder:
        yield Launcher(made, folder)


def config(**more: Any) -> str:
    """A prefill worker of two nodes of h100, a decode worker of two nodes of h200."""
    made = json.loads(small(prefill=(1, 16), decode=(1, 8)))
    made["prefill"]["slurm"] = {"partition": "h100"}
    made["decode"]["slurm"] = {"partition": "h200", "gpus_per_node": 4}
    return json.dumps({**made, **more}, indent=1)


def components(run: Run) -> list[dict[str, str]]:
    """What Slurm says of each component, the first one first."""
    done = run.launcher.cluster.run(["scontrol", "--oneliner", "show", "job", str(run.job)], check=True)
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in done.stdout.splitlines()]


def test_a_job_of_two_partitions(launcher: Launcher) -> None:
    cluster = launcher.cluster
    run = launcher.start(launcher.write(config(preflight=True)))
    assert heads(run) == {"prefill-0": PREFILL, "decode-0": DECODE}
    found = [(c["HetJobOffset"], c["Partition"], c["NodeList"], c["TresPerNode"]) for c in components(run)]
    assert found == [("0", "h100", "n[005-006]", "gres:gpu:8"), ("1", "h200", "n[001-002]", "gres:gpu:4")]
    for group, nodes, gpus in (("prefill-0", PREFILL, "0,1,2,3,4,5,6,7"), ("decode-0", DECODE, "0,1,2,3")):
        for node in nodes:
            (process,) = run.rank_processes(node, group)
            assert visible_gpus(cluster, node, process) == gpus
    # services and the frontend are on the head prefill node
    assert run.url.startswith(f"http://{cluster.address('n005')}:")
    run.chat("n002")
    # the preflight stage named the nodes as the plan counts them, and asked both partitions
    rows = run.path.joinpath("preflight.txt").read_text().splitlines()
    assert [row.split()[0] for row in rows if re.match(r"n\d+ ", row)] == [*PREFILL, *DECODE]

    status = run.status()
    assert status["state"] == "RUNNING"
    assert [(r["group"], r["host"]) for r in status["ranks"]] == [
        *(("prefill-0", host) for host in PREFILL),
        *(("decode-0", host) for host in DECODE),
    ]

    attach = launcher("attach", str(run.job), "decode-0:1", "-c", "hostname")
    assert attach.returncode == 0, attach.stderr
    words = [word for word in shlex.split(attach.stdout) if word != "--pty"]  # there is no terminal here
    assert cluster.run(words).stdout.split() == ["n002"]

    assert launcher("cancel", str(run.job)).returncode == 0
    assert [c["JobState"] for c in components(run)] == ["CANCELLED", "CANCELLED"]
    # the workers were asked to end, and did
    assert "is killed" not in run.output
    check_nothing_left(cluster)


def test_the_shipped_config(launcher: Launcher) -> None:
    """configs/hetero.yaml with the mocker in SGLang's place, until it is warm."""
    kinds = ("prefill.slurm.partition=h100", "decode.slurm.partition=h200")
    run = launcher.start("configs/hetero.yaml", sets=(*REHEARSAL, *kinds), wait="warm")
    assert heads(run) == {"prefill-0": PREFILL, "decode-0": ["n001", "n002", "n003", "n004"]}
    assert [c["Partition"] for c in components(run)] == ["h100", "h200"]
    run.chat("n004")
    assert launcher("cancel", "hetero").returncode == 0
    check_nothing_left(launcher.cluster)


def test_a_worker_of_the_second_component_comes_back(launcher: Launcher) -> None:
    cluster = launcher.cluster
    run = launcher.start(launcher.write(config()))
    (process,) = run.rank_processes("n002", "decode-0")
    cluster.run(["kill", "-KILL", str(process.pid)], "n002", check=True)
    run.wait_event("decode-0", "restarting")
    began = [event[:2] for event in run.events()].index(("decode-0", "restarting"))
    wait_until(lambda: ("decode-0", "ready") in [e[:2] for e in run.events()[began:]], 40, "decode-0 to be back")
    run.chat("n005")
    assert launcher("cancel", str(run.job)).returncode == 0
    check_nothing_left(cluster)


def test_preflight_asks_for_nodes_of_both_kinds(launcher: Launcher) -> None:
    file = launcher.write(config())
    done = launcher("preflight", file, "--json", timeout=120)
    found = json.loads(done.stdout)
    assert [(n["host"], n["index"], n["facts"]["gpus"]) for n in found["nodes"]] == [
        *((host, index, "8") for index, host in enumerate(PREFILL)),
        *((host, index, "4") for index, host in enumerate(DECODE, 2)),
    ]
    assert {(x["name"], tuple(x["hosts"])) for x in found["network"]} == {
        ("prefill-0", tuple(PREFILL)),
        ("decode-0", tuple(DECODE)),
        ("prefill-0>decode-0", ("n005", "n001")),
    }
    assert launcher.cluster.unfinished_jobs() == []


def test_check_asks_slurm_about_both(launcher: Launcher) -> None:
    file = launcher.write(config())
    fine = launcher("check", file)
    assert "Slurm would take it" in fine.stdout + fine.stderr, fine.stdout + fine.stderr
    wrong = launcher("check", file, "--set", "decode.slurm.partition=nowhere")
    assert wrong.returncode != 0
    assert "invalid partition specified: nowhere" in wrong.stdout
    assert "--set decode.slurm.partition=nowhere" in wrong.stdout


def test_the_first_component_s_options_are_not_the_second_s(launcher: Launcher) -> None:
    """Slurm hands some on; the script takes them back."""
    text = json.loads(config())
    cluster = launcher.cluster
    made = "reservationname=mine starttime=now duration=60 users=root nodes=n005,n006 flags=ignore_jobs"
    cluster.run(["scontrol", "create", "reservation", *made.split()], check=True)
    text["prefill"]["slurm"].update(exclude="n001", reservation="mine")
    options = ["--hold", "--comment=both", ":", "--nodelist=n002"]
    run = launcher.start(launcher.write(json.dumps(text)), wait=None, sbatch=options)
    # n002 is there because Slurm keeps each component from the nodes that another one names
    assert [c["ExcNodeList"] for c in components(run)] == ["n[001-002]", ""]
    assert [(c["Comment"], c["ReqNodeList"]) for c in components(run)] == [("both", "(null)"), ("both", "n002")]
    assert [c.get("Reservation") for c in components(run)] == ["mine", None]
    assert {c["JobState"] for c in components(run)} == {"PENDING"}
    assert run.status()["state"] == "PENDING"
    assert launcher("cancel", str(run.job)).returncode == 0
    cluster.run(["scontrol", "delete", "reservationname=mine"], check=True)
