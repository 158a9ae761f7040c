"""Verdicts over facts of nodes, and the real checks on this machine."""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.base.files import data_path
from launcher.config.load import Source, validate
from launcher.plan.make import make_plan
from launcher.plan.model import Plan
from launcher.preflight.judge import Need, Node, Remark, judge, parse
from launcher.preflight.network import body, judge_links, lay_out, rows, try_links
from launcher.preflight.run import need
from launcher.preflight.table import text

REPO = Path(__file__).resolve().parents[2]
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


def test_nvlink_between_nodes_needs_imex() -> None:
    data = {"name": "t", "model": {"path": "/m"}, "aggregated": {"env": {"MC_FORCE_MNNVL": "1"}}}
    source = Source("", {})
    wanted = need(make_plan(validate(data, source), source), "slurm")
    assert wanted.imex == "MC_FORCE_MNNVL: 1"
    for channels, count in (("0", 1), ("1", 0)):
        found = judge([Node("n1", 0, {**GOOD, "imex": channels})], wanted)
        assert [("no IMEX channel" in r.text, r.verdict) for r in found] == [(True, "warning")] * count
    data["aggregated"] = {"env": {"MC_FORCE_MNNVL": "0"}}
    assert need(make_plan(validate(data, source), source), "slurm").imex == ""



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


TORCH = os.environ.get("SGL_LAUNCH_TORCH_PYTHON", "")
needs_torch = pytest.mark.skipif(not TORCH, reason="SGL_LAUNCH_TORCH_PYTHON names no Python with torch and nixl")


def two_roles(cluster: str = "slurm", **more: object) -> Plan:
    """A prefill worker on two nodes, two decode workers on one each."""
    role = {"args": {"tp-size": 8, "page-size": 16}}
    config = {
        "name": "net",
        "model": {"path": "/models/m", "served_name": "m"},
        "slurm": {"gpus_per_node": 8},
        "engine": "mocker",
        "prefill": {"args": {"tp-size": 16, "page-size": 16}},
        "decode": {"workers": 2, **role},
        **more,
    }
    source = Source("net.yaml", {})
    return make_plan(validate(config, source), source, cluster)  # type: ignore[arg-type]


FOUR = [Node(f"n{i}", i, {"interface": f"eth0 10.0.0.{i}", "listening": "22,32767"}) for i in range(4)]
PAIRS = ("prefill-0>decode-0", "prefill-0>decode-1")


def answer(what: str, name: str, rank: int, state: str, text: str, rate: float = 0.0) -> str:
    found = {"what": what, "name": name, "rank": rank, "state": state, "text": text, "rate": rate}
    return "SGL_NET " + json.dumps(found) + "\n"


GOOD_NET = (
    answer("allreduce", "prefill-0", 0, "ok", "nccl", 20)
    + answer("allreduce", "prefill-0", 1, "ok", "nccl", 19)
    + "".join(answer("transfer", pair, 0, "ok", "VRAM", 40) for pair in PAIRS)
)


def test_who_tries_what() -> None:
    trial = lay_out(two_roles(), FOUR)
    assert [(p.host, p.kind, p.name, p.rank) for p in trial.parts] == [
        ("n0", "allreduce", "prefill-0", 0),
        ("n1", "allreduce", "prefill-0", 1),
        ("n0", "transfer", ",".join(PAIRS), 0),
        ("n2", "transfer", PAIRS[0], 1),
        ("n3", "transfer", PAIRS[1], 1),
    ]
    assert [p.words[3] for p in trial.parts[:2]] == ["10.0.0.0", "10.0.0.0"]
    ports = [p.words[4] for p in trial.parts[:2]]
    assert ports[0] == ports[1] != "32767"
    assert [(x.name, x.text) for x in trial.skipped] == [
        ("decode-0", "it has one node"),
        ("decode-1", "it has one node"),
    ]


def test_what_cannot_be_tried_is_said() -> None:
    lost = lay_out(two_roles(), FOUR[:3])
    assert {x.name for x in lost.skipped if x.text == "a node of it has no address"} == {PAIRS[1], "decode-1"}
    roles = {
        name: {"args": {"tp-size": 8, "page-size": 16, "disaggregation-transfer-backend": "mooncake"}}
        for name in ("prefill", "decode")
    }
    (pair,) = [x for x in lay_out(two_roles(**roles), FOUR).skipped if x.kind == "transfer"]
    assert (pair.verdict, pair.text) == ("not checked", "the transfers go over mooncake")


@pytest.mark.parametrize(
    ("instead", "name", "verdict", "said"),
    [
        (("nccl", "nccl"), "prefill-0", "ok", "nccl, 19.00 GiB/s"),
        ((answer("allreduce", "prefill-0", 1, "ok", "nccl", 19), ""), "prefill-0", "bad", "no answer from n1"),
        (
            (
                answer("allreduce", "prefill-0", 1, "ok", "nccl", 19),
                answer("allreduce", "prefill-0", 1, "bad", "Connection refused"),
            ),
            "prefill-0",
            "bad",
            "n1: Connection refused",
        ),
        (
            (
                answer("allreduce", "prefill-0", 1, "ok", "nccl", 19),
                answer("allreduce", "prefill-0", 1, "none", "no torch in /usr/bin/python3"),
            ),
            "prefill-0",
            "not checked",
            "no torch in /usr/bin/python3",
        ),
        (
            (
                answer("transfer", PAIRS[0], 0, "ok", "VRAM", 40),
                answer("transfer", PAIRS[0], 0, "bad", "refused (10.0.0.2)")
                + answer("transfer", ",".join(PAIRS), 1, "none", "no nixl in /p"),
            ),
            PAIRS[0],
            "not checked",
            "no nixl in /p",
        ),
    ],
)
def test_verdicts_on_groups_and_pairs(instead: tuple[str, str], name: str, verdict: str, said: str) -> None:
    assert instead[0] in GOOD_NET
    links = judge_links(lay_out(two_roles(), FOUR), GOOD_NET.replace(*instead))
    assert [(x.verdict, x.text) for x in links if x.name == name] == [(verdict, said)]


def test_a_link_is_held_against_what_it_should_give() -> None:
    said = GOOD_NET.replace('"rate": 19}', '"rate": 1.9, "link": 445.2, "doubt": ""}')
    (group,) = [x for x in judge_links(lay_out(two_roles(), FOUR), said) if x.name == "prefill-0"]
    assert (group.verdict, group.text) == ("warning", "nccl, 1.90 GiB/s; this link should give 445")


NCCL_SOCKET = """\
n001:88:88 [0] NCCL INFO NET/Socket : Using [0]eth1:10.0.0.2<0> [1]eth0:10.77.1.1<0>
n001:88:99 [0] NCCL INFO Channel 00/0 : 1[0] -> 0[0] [receive] via NET/Socket/1
"""
NCCL_IB = """\
n1:7:7 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_3:1/IB [RO]; OOB ib0:10.1.0.4<0>
n1:7:9 [0] NCCL INFO Channel 01/0 : 0[0] -> 1[0] via P2P/CUMEM
n1:7:9 [0] NCCL INFO Channel 00/0 : 1[0] -> 0[0] [send] via NET/IB/1/GDRDMA
"""


def test_the_transport_is_read_from_the_log_of_nccl(tmp_path: Path) -> None:
    program: Any = runpy.run_path(str(REPO / "launcher/preflight/programs/allreduce.py"))
    transport, link, idle = program["transport"], program["link"], program["idle_fabric"]
    assert transport(NCCL_SOCKET) == ("Socket", "eth0")
    assert transport(NCCL_IB) == ("IB", "mlx5_3")
    assert transport("x [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM") == ("P2P", "")
    assert transport("") == ("", "")

    port = tmp_path / "infiniband/mlx5_3/ports/1"
    port.mkdir(parents=True)
    for name, value in (("rate", "400 Gb/sec (4X NDR)"), ("link_layer", "InfiniBand"), ("state", "4: ACTIVE")):
        (port / name).write_text(value + "\n")
    (tmp_path / "net/eth0").mkdir(parents=True)
    (tmp_path / "net/eth0/speed").write_text("-1\n")
    name, should = link("IB", "mlx5_3", tmp_path)
    assert (name, round(should, 1)) == ("InfiniBand (mlx5_3)", 46.6)
    assert link("Socket", "eth0", tmp_path) == ("TCP (eth0)", 0.0)
    assert idle("Socket", tmp_path) == "NCCL goes over TCP although the node has mlx5_3"
    assert idle("IB", tmp_path) == ""


def test_a_slow_pair_is_named() -> None:
    plan = two_roles(decode={"workers": 3, "args": {"tp-size": 8, "page-size": 16}})
    five = [*FOUR, Node("n4", 4, {"interface": "eth0 10.0.0.4"})]
    output = "".join(answer("transfer", f"prefill-0>decode-{i}", 0, "ok", "VRAM", (40, 41, 4)[i]) for i in range(3))
    links = {x.name: x for x in judge_links(lay_out(plan, five), output)}
    assert links["prefill-0>decode-1"].verdict == "ok"
    slow = links["prefill-0>decode-2"]
    assert (slow.verdict, slow.text) == ("warning", "VRAM, 4.00 GiB/s; usual here are 40.00")


def test_rows_of_groups_and_pairs() -> None:
    shown = rows(judge_links(lay_out(two_roles(), FOUR), GOOD_NET.replace("40", "4.0", 1)))
    assert shown == (
        "group or pair       what       verdict\n"
        "decode-0            allreduce  not checked: it has one node\n"
        "decode-1            allreduce  not checked: it has one node\n"
        "prefill-0           allreduce  ok: nccl, 19.00 GiB/s\n"
        "prefill-0>decode-0  transfer   ok: VRAM, 4.00 GiB/s\n"
        "prefill-0>decode-1  transfer   ok: VRAM, 40.00 GiB/s"
    )


def test_a_part_says_its_line_in_one_write() -> None:
    """Parts share a pipe: a line in two writes would be mixed with others'."""
    program = REPO / "launcher/preflight/programs/allreduce.py"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a message a write
    with ours, theirs:
        subprocess.run(
            [sys.executable, "-S", program, "prefill-0", "0", "2", "127.0.0.1", "1", "5"],
            stdout=theirs,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            check=True,
        )
        said = ours.recv(65536).decode()
    assert said.startswith("SGL_NET {")
    assert said.endswith("}\n")


def test_without_torch_or_python(tmp_path: Path) -> None:
    """Said of every row, and no failure."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    for python, said in ((str(bare), "no torch in "), (f"{tmp_path}/none", f"no {tmp_path}/none")):
        links = try_links(two_roles("local", python=python), [Node("here", 0, {})], print)
        tried = [x for x in links if x.text != "it has one node"]
        assert {x.verdict for x in tried} == {"not checked"}
        assert tried[0].text.startswith(said)
        assert len(tried) == 3


@pytest.mark.parametrize("runtime", ["none", "apptainer", "docker", "pyxis"])
def test_the_trial_is_bash(runtime: str) -> None:
    container = {"runtime": runtime, **({} if runtime == "none" else {"image": "/images/it's.sif"})}
    plan = two_roles(engine="dynamo", container=container, env={"UCX_TLS": "rc,'x'"})
    script = body(plan, lay_out(plan, FOUR), FOUR)
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    check = [Path(sys.executable).with_name("shellcheck"), "-s", "bash", "-S", "error", "-"]
    checked = subprocess.run(check, input=script, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", ["preflight.sh", "preflight-network.sh"])
def test_shellcheck(name: str) -> None:
    # variables and functions of one part are another's
    check = [
        Path(sys.executable).with_name("shellcheck"),
        "-s",
        "bash",
        "-e",
        "SC2153,SC2154",
        data_path("templates") / name,
    ]
    checked = subprocess.run(check, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_inside_a_container(tmp_path: Path) -> None:
    """A stand-in for apptainer: what follows the image is run, in the environment of the node's shell."""
    runtime = tmp_path / "apptainer"
    runtime.write_text('#!/bin/bash\nwhile [ "$1" != /image.sif ]; do shift; done\nshift\necho here >&2\nexec "$@"\n')
    runtime.chmod(0o755)
    container = {"runtime": "apptainer", "image": "/image.sif"}
    plan = two_roles("local", engine="dynamo", container=container, python="/no/python")
    nodes = [Node("here", 0, {})]
    trial = lay_out(plan, nodes)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "RUN": "/tmp", "JOB_ID": "1"}
    done = subprocess.run(["bash", "-c", body(plan, trial, nodes)], capture_output=True, text=True, env=env)
    assert done.stderr == "here\n" * len(trial.parts)
    assert {x.text for x in judge_links(trial, done.stdout)} == {"no /no/python", "it has one node"}


@needs_torch
def test_for_real_on_this_machine() -> None:
    plan = two_roles("local", python=TORCH, env={"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"})
    links = {x.name: x for x in try_links(plan, [Node("here", 0, {})], print)}
    assert {links[name].verdict for name in ("prefill-0", *PAIRS)} == {"ok"}, links
    assert links["prefill-0"].text.startswith("gloo, ")
    assert all(links[pair].rate > 0 for pair in PAIRS)
