"""Verdicts over facts of nodes, and the real checks on this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from launcher.files import data_path
from launcher.preflight.judge import Need, Node, Remark, judge, parse
from launcher.preflight.table import text

GOOD = {
    "gpus": "8", "gpu_memory_used": "3", "gpu_ecc": "0", "gpu_driver": "570.86", "gpu_name": "NVIDIA H100",
    "model": "163 688586727753 a1b2c3d4e5f6", "image": "24000000000", "memlock": "unlimited", "nofile": "131072",
    "tmp_free": "400000000", "runs_free": "900000000", "clock": "1795435060.1", "interface": "ib0 10.0.0.1",
    "rdma": "8", "listening": "22,6818",
}  # fmt: skip


def nodes(**third: str) -> list[Node]:
    """Three nodes that are well, but for what is given of the third."""
    return [Node(f"n{i + 1}", i, {**GOOD, **(third if i == 2 else {})}) for i in range(3)]


NEED = Need(3, dict.fromkeys(range(3), 8), {2: {"frontend.port": 8000}})


@pytest.mark.parametrize(
    ("facts", "check", "verdict", "said"),
    [
        ({"gpus": "7"}, "gpus", "bad", "7 GPUs are seen, 8 are needed"),
        ({"gpu_memory_used": "61000"}, "memory", "bad", "a GPU has 61000 MiB in use: somebody else's process is on it"),
        ({"gpu_ecc": "2"}, "ecc", "bad", "2 uncorrected memory errors: the GPU wants a reset, or repair"),
        ({"gpu_driver": "535.1"}, "driver", "warning", "the driver is 535.1, on most nodes 570.86"),
        ({"model": "missing"}, "model", "bad", "the model's folder is not there"),
        (
            {"model": "162 688 b1"},
            "model",
            "bad",
            "the model's folder has 162 files, 688 bytes, on most nodes 163 files, 688586727753 bytes",
        ),
        ({"image": "missing"}, "image", "bad", "the container's image is not there"),
        ({"memlock": "64"}, "limits", "bad", "locked memory is limited to 64 KiB; RDMA needs `ulimit -l unlimited`"),
        ({"nofile": "1024"}, "limits", "bad", "at most 1024 open files; 65536 or more are better"),
        ({"tmp_free": "1048576"}, "disk", "warning", "1.0 GiB are free in /tmp; 10 or more are better"),
        ({"clock": "1795435030.1"}, "clock", "warning", "its clock is 30 s behind the others'"),
        ({"interface": "ib7 "}, "network", "bad", "the interface ib7 has no IPv4 address; set network.interface"),
        ({"rdma": "7"}, "network", "warning", "active RDMA ports: 7, on most nodes 8"),
        ({"listening": "22,8000"}, "ports", "bad", "port 8000 (frontend.port) is taken"),
    ],
)
def test_a_bad_node_is_named(facts: dict[str, str], check: str, verdict: str, said: str) -> None:
    assert judge(nodes(**facts), NEED) == [Remark("n3", check, verdict, said)]  # type: ignore[arg-type]


def test_good_nodes_have_no_remarks() -> None:
    assert judge(nodes(), NEED) == []
    running = nodes(gpu_memory_used="70000", listening="8000")
    assert judge(running, Need(3, NEED.gpus, NEED.ports, busy=True)) == []


def test_a_node_that_says_nothing() -> None:
    assert judge(nodes()[:2], NEED)[-1] == Remark("-", "nodes", "bad", "2 of 3 nodes answered")


def test_the_table() -> None:
    ill = nodes(gpus="7", rdma="7")
    shown = text(ill, judge(ill, NEED))
    assert shown == (
        "node  gpus mem  ecc  driver model image limits disk clock network ports verdict\n"
        "n1    ok   ok   ok   ok     ok    ok    ok     ok   ok    ok      ok    ok\n"
        "n2    ok   ok   ok   ok     ok    ok    ok     ok   ok    ok      ok    ok\n"
        "n3    BAD  ok   ok   ok     ok    ok    ok     ok   ok    warn    ok    BAD\n"
        "\n"
        "n3: gpus: 7 GPUs are seen, 8 are needed\n"
        "n3: network: active RDMA ports: 7, on most nodes 8"
    )


def test_on_this_machine(tmp_path: Path) -> None:
    """The real script: facts of every check, and it leaves nothing behind."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    head = f"MODEL={model} IMAGE={tmp_path}/none.sqsh INTERFACE=lo RUNS={tmp_path}/not/yet\n"
    script = head + "PROGRAMS='bash no-such-thing'\n" + (data_path("templates") / "preflight.sh").read_text()
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    (node,) = parse(done.stdout)
    assert node.no_programs == ("no-such-thing",)
    assert node.facts["model"].startswith("1 2 ")
    assert node.facts["image"] == "missing"
    assert node.facts["interface"] == "lo 127.0.0.1"
    assert {"gpus", "memlock", "nofile", "tmp_free", "runs_free", "clock", "rdma", "listening"} <= set(node.facts)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
