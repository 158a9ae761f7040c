"""Plans of every shape: who runs where with which words, before any node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.base.errors import InputError
from launcher.config import load_config
from launcher.plan.make import make_plan
from launcher.plan.model import Cluster
from launcher.plan.show import to_json
from launcher.render import render
from tests.slurm.deploy import ROOT

from .configs import config, role


def planned(name: str, cluster: Cluster = "slurm", sets: tuple[str, ...] = ()) -> dict[str, Any]:
    return to_json(make_plan(*load_config(name, sets, sites=()), cluster))


def plan(tmp_path: Path, text: str, cluster: Cluster = "slurm") -> dict[str, Any]:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return planned(str(path), cluster)


def layout(plan: dict[str, Any]) -> dict[str, list[tuple[int, list[int]]]]:
    return {g["name"]: [(r["node"], r["gpus"]) for r in g["ranks"]] for g in plan["groups"]}


def shipped(name: str, cluster: Cluster = "slurm") -> dict[str, Any]:
    return planned(str(ROOT / "configs" / f"{name}.yaml"), cluster)


def flag(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_shapes_of_few_gpus() -> None:
    assert layout(shipped("h200-pd")) == {"prefill-0": [(0, [0])], "decode-0": [(0, [1])]}
    assert layout(shipped("h200-agg2")) == {"aggregated-0": [(0, [0]), (1, [0])]}
    assert layout(shipped("h200-agg2", "local")) == {"aggregated-0": [(0, [0]), (1, [1])]}
    assert layout(shipped("dsr1-4gpu")) == {"prefill-0": [(0, [0, 1])], "decode-0": [(0, [2, 3])]}
    six = {"prefill-0": [(n, [n]) for n in (0, 1)], "decode-0": [(n, [n]) for n in (2, 3, 4, 5)]}
    assert layout(shipped("dsr1-six-nodes", "local")) == six


def test_nodes_of_two_kinds() -> None:
    found = shipped("hetero")
    assert layout(found) == {
        "prefill-0": [(n, list(range(8))) for n in (0, 1)],
        "decode-0": [(n, list(range(4))) for n in (2, 3, 4, 5)],
    }
    keys = ("roles", "first", "nodes", "gpus_per_node")
    kinds = [(*(c[key] for key in keys), c["slurm"]["partition"]) for c in found["components"]]
    assert kinds == [(["prefill"], 0, 2, 8, "<H100 nodes>"), (["decode"], 2, 4, 4, "<H200 nodes>")]
    assert (found["services"]["nats"]["node"], found["frontend"]["node"]) == (0, 0)
    # the nodes of each component are asked for as dsr1.yaml asks for all, but for what differs
    script = render(make_plan(*load_config(str(ROOT / "configs" / "hetero.yaml"), sites=())))
    first, _, second = script.partition("#SBATCH hetjob\n")
    assert "#SBATCH '--partition=<H100 nodes>'\n" in first
    assert "#SBATCH '--partition=<H200 nodes>'\n" in second
    assert script.count("#SBATCH --exclusive\n") == 2
    assert script.count("#SBATCH --time=04:00:00\n") == 1
    bare = ("container.runtime=none", "container.image=null")
    here = layout(planned(str(ROOT / "configs" / "hetero.yaml"), "local", bare))
    assert here["decode-0"] == [(n, list(range(8 + 4 * n, 12 + 4 * n))) for n in (2, 3, 4, 5)]


@pytest.mark.parametrize("name", ["h200-pd", "h200-agg2", "dsr1-4gpu", "dsr1-six-nodes"])
def test_dummy_weights_and_plain_kernels(name: str) -> None:
    for group in shipped(name)["groups"]:
        argv = group["argv"]
        assert argv[:3] == ["python3", "-m", "dynamo.sglang"]
        assert flag(argv, "--load-format") == "dummy"
        assert flag(argv, "--attention-backend") == "triton"
        wanted = {"dsr1-4gpu": 2, "dsr1-six-nodes": group["gpus"]}.get(name)
        assert ("--enable-dp-attention" in argv) == bool(wanted)
        if wanted:
            assert flag(argv, "--dp-size") == flag(argv, "--tp-size") == str(wanted)


def test_sglang_without_dynamo(tmp_path: Path) -> None:
    found = plan(tmp_path, config("sglang", prefill=role(2, 16), decode=role(1, 8), ports={"base": 21000}))
    assert found["services"] == {}
    assert found["health"] == "/health"
    prefill = found["groups"][0]["argv"]
    assert prefill[1:3] == ["-m", "sglang.launch_server"]
    assert flag(prefill, "--disaggregation-bootstrap-port") == "21030"
    assert "--disaggregation-bootstrap-port" not in found["groups"][2]["argv"]
    assert not [k for g in found["groups"] for k in g["env"] if k.startswith(("DYN_", "NATS", "ETCD"))]
    router = found["frontend"]["argv"]
    assert router[3] == "${RUN}/secrets/worker-key"
    assert router[4:12] == [
        "sglang_router.launch_router",
        "--pd-disaggregation",
        "--prefill",
        "http://<node0>:21033",
        "21030",
        "--prefill",
        "http://<node2>:21033",
        "21030",
    ]
    assert flag(router, "--decode") == "http://<node4>:21033"
    script = render(make_plan(*load_config(str(tmp_path / "c.yaml"), sites=())))
    assert "NATS" not in script.partition("# === Stages")[2]
    assert "stage keys" not in script


def test_sglang_aggregated(tmp_path: Path) -> None:
    router = plan(tmp_path, config("sglang", aggregated=role(2, 4), ports={"base": 21000}))["frontend"]["argv"]
    at = router.index("--worker-urls")
    assert router[at + 1 : at + 3] == ["http://<node0>:21033", "http://<node0>:21057"]
    assert "--pd-disaggregation" not in router


def test_frontends(tmp_path: Path) -> None:
    parts = {"prefill": role(), "decode": role(), "frontend": {"port": 8000, "replicas": 2, "router_mode": "kv"}}
    found = plan(tmp_path, config(**parts))["frontend"]
    assert (found["port"], found["balanced"]) == (8000, True)
    assert found["replicas"] == [{"name": f"frontend-{n}", "node": n, "port": "P+3"} for n in (0, 1)]
    here = plan(tmp_path, config(**parts), "local")["frontend"]
    assert (here["port"], [f["port"] for f in here["replicas"]]) == (8000, ["P+3", "P+6"])
    assert "--router-replica-sync" in here["argv"]
    with pytest.raises(InputError, match="at most one frontend runs on a node, and the workers take 1 node"):
        plan(tmp_path, config(aggregated=role(), frontend={"replicas": 2}))


def test_services_elsewhere(tmp_path: Path) -> None:
    own = shipped("frontends")
    assert (own["nodes"], own["services"]["nats"]["node"], own["services"]["etcd"]["node"]) == (7, 6, 6)
    assert [f["node"] for f in own["frontend"]["replicas"]] == [0, 1, 2]
    where = {"where": "external", "nats": "nats://10.0.0.9:4222", "etcd": "http://10.0.0.9:2379"}
    far = plan(tmp_path, config(services=where))
    assert far["services"] == {}
    for command in (*far["groups"], far["frontend"]):
        assert command["env"]["NATS_SERVER"] == where["nats"]
        assert command["env"]["ETCD_ENDPOINTS"] == where["etcd"]
        assert command["env"]["DYN_NAMESPACE"] == "sgl-launch-${JOB_ID}"


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ({"where": "external", "etcd": "http://a:1"}, r"services\.nats: say where it is: nats://HOST:PORT or tls"),
        ({"where": "external", "nats": "a:1", "etcd": "http://a:1"}, r"services\.nats: must be nats://HOST:PORT"),
        ({"nats": "nats://a:1"}, r"services\.nats: is for services\.where: external"),
        ({"keys": "/k"}, r"services\.keys: is for services\.where: external"),
    ],
)
def test_wrong_services(tmp_path: Path, services: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(tmp_path, config(services=services))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"security": {"services": "open"}}, "takes the job's keys; leave out security.services: open"),
        ({"services": {"where": "external", "nats": "nats://a:1", "etcd": "http://a:1"}}, "the services are elsewhere"),
        ({"engine": "sglang"}, "it has no Dynamo"),
    ],
)
def test_tls_that_cannot_be_had(tmp_path: Path, parts: dict[str, Any], message: str) -> None:
    """Better a message than a request plane that is open all the same."""
    parts["security"] = {**parts.get("security", {}), "request_plane": "tls"}
    with pytest.raises(InputError, match=rf"security\.request_plane: tls cannot be had here: .*{message}"):
        plan(tmp_path, config(parts.pop("engine", "mocker"), **parts))


def test_slurms_dialects(tmp_path: Path) -> None:
    """Switches and segments pass through; GPUs are asked for as the site wants it."""
    for wish, line in (("gpus-per-node", "--gpus-per-node=8"), ("gres", "--gres=gpu:8"), ("none", "")):
        text = config(slurm={"gpu_request": wish, "switches": "1@00:10:00", "segment": 2})
        plan(tmp_path, text)
        script = render(make_plan(*load_config(str(tmp_path / "c.yaml"), sites=())))
        asked = [text.removeprefix("#SBATCH ") for text in script.splitlines() if text.startswith("#SBATCH")]
        assert {"--switches=1@00:10:00", "--segment=2"} <= set(asked)
        assert [text for text in asked if "gpu" in text] == ([line] if line else [])
