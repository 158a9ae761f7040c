"""Who runs where: nodes and GPUs of every rank."""

from __future__ import annotations

import pytest

from launcher.base.errors import InputError
from launcher.plan.model import Plan
from launcher.plan.show import to_json

from .helpers import BASE, REPO, plan_of, roles

Where = dict[str, list[tuple[int, tuple[int, ...]]]]


def where(plan: Plan) -> Where:
    """Node and GPUs of each rank, in the order of ranks."""
    for group in plan.groups:
        assert [r.rank for r in group.ranks] == list(range(len(group.ranks)))
    return {g.name: [(r.node, r.gpus) for r in g.ranks] for g in plan.groups}


def gpus(first: int, count: int) -> tuple[int, ...]:
    return tuple(range(first, first + count))


def test_dsr1() -> None:
    plan = plan_of((REPO / "configs/dsr1.yaml").read_text())
    full = gpus(0, 8)
    assert where(plan) == {
        "prefill-0": [(0, full), (1, full)],
        "decode-0": [(2, full), (3, full), (4, full), (5, full)],
    }
    assert plan.nodes == 6
    assert plan.head_node == 0


def test_several_workers_of_several_nodes() -> None:
    plan = plan_of(roles("{workers: 2, args: {tp-size: 16}}", "{workers: 2, args: {tp-size: 32}}"))
    assert {g.name: g.nodes for g in plan.groups} == {
        "prefill-0": (0, 1),
        "prefill-1": (2, 3),
        "decode-0": (4, 5, 6, 7),
        "decode-1": (8, 9, 10, 11),
    }
    assert plan.nodes == 12


def test_workers_smaller_than_a_node_share_it() -> None:
    plan = plan_of(roles("{workers: 3, args: {tp-size: 4}}", "{workers: 1, args: {tp-size: 8}}"))
    assert where(plan) == {
        "prefill-0": [(0, gpus(0, 4))],
        "prefill-1": [(0, gpus(4, 4))],
        "prefill-2": [(1, gpus(0, 4))],
        "decode-0": [(2, gpus(0, 8))],
    }
    assert [g.slot for g in plan.groups] == [0, 1, 0, 0]


def test_roles_share_a_node_too() -> None:
    plan = plan_of(roles("{workers: 1, args: {tp-size: 4}}", "{workers: 2, args: {tp-size: 2}}"))
    assert where(plan) == {
        "prefill-0": [(0, gpus(0, 4))],
        "decode-0": [(0, gpus(4, 2))],
        "decode-1": [(0, gpus(6, 2))],
    }
    assert plan.nodes == 1


def test_sizes_that_do_not_divide_a_node_leave_a_rest() -> None:
    plan = plan_of(roles("{workers: 3, args: {tp-size: 3}}", "{args: {tp-size: 5}}"))
    assert where(plan) == {
        "prefill-0": [(0, gpus(0, 3))],
        "prefill-1": [(0, gpus(3, 3))],
        "prefill-2": [(1, gpus(0, 3))],
        "decode-0": [(1, gpus(3, 5))],
    }


def test_a_worker_of_several_nodes_starts_on_a_fresh_one() -> None:
    plan = plan_of(roles("{args: {tp-size: 2}}", "{args: {tp-size: 16}}"))
    assert {g.name: g.nodes for g in plan.groups} == {"prefill-0": (0,), "decode-0": (1, 2)}
    plan = plan_of(roles("{args: {tp-size: 16}}", "{args: {tp-size: 2}}"))
    assert {g.name: g.nodes for g in plan.groups} == {"prefill-0": (0, 1), "decode-0": (2,)}


def test_aggregated() -> None:
    plan = plan_of("name: t\nmodel: {path: /m}\naggregated: {workers: 2, args: {tp-size: 8}}\n")
    assert {g.name: g.nodes for g in plan.groups} == {"aggregated-0": (0,), "aggregated-1": (1,)}


def test_gpus_of_local_nodes_follow_each_other() -> None:
    text = roles("{args: {tp-size: 8}}", "{workers: 2, args: {tp-size: 2}}", "slurm: {gpus_per_node: 4}\n")
    plan = plan_of(text, "local")
    assert where(plan) == {
        "prefill-0": [(0, gpus(0, 4)), (1, gpus(4, 4))],
        "decode-0": [(2, gpus(8, 2))],
        "decode-1": [(2, gpus(10, 2))],
    }


@pytest.mark.parametrize("cluster", ["slurm", "local"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 16])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_no_gpu_is_given_out_twice(cluster: str, size: int, workers: int) -> None:
    role = f"{{workers: {workers}, args: {{tp-size: {size}}}}}"
    plan = plan_of(roles(role, role), "local" if cluster == "local" else "slurm")
    taken = [
        gpu if cluster == "local" else (rank.node, gpu)
        for group in plan.groups
        for rank in group.ranks
        for gpu in rank.gpus
    ]
    assert len(taken) == len(set(taken)) == 2 * workers * size
    assert {r.node for g in plan.groups for r in g.ranks} == set(range(plan.nodes))
    assert all(len(set(g.nodes)) == len(g.nodes) for g in plan.groups)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: t\nmodel: {path: /m}\n",
            "c.yaml:1:1: give `prefill` and `decode`, or `aggregated`: there is no worker",
        ),
        (BASE.split("decode")[0], "c.yaml:3:1: prefill: there is no `decode`; disaggregation needs both roles"),
        (
            BASE + "aggregated: {}\n",
            "c.yaml:5:1: aggregated: an aggregated deployment has no prefill or decode; keep one of the two kinds",
        ),
    ],
)
def test_roles_that_make_no_deployment(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        plan_of(text)
    assert str(error.value) == message


def test_json_has_the_documented_shape() -> None:
    plan = to_json(plan_of((REPO / "configs/dsr1.yaml").read_text()))
    assert list(plan) == [
        "schema", "name", "engine", "cluster", "nodes", "spare_nodes", "gpus_per_node", "model", "ports",
        "groups", "services", "frontend", "health", "config",
    ]  # fmt: skip
    group = plan["groups"][1]
    assert list(group) == ["name", "role", "index", "nodes", "ranks", "gpus", "ports", "argv", "env"]
    assert group["nodes"] == [2, 3, 4, 5]
    assert group["ranks"][3] == {"rank": 3, "node": 5, "gpus": list(range(8))}
    assert group["gpus"] == 32
    argv = group["argv"]
    assert argv[argv.index("--dist-init-addr") + 1] == "<node2>:P+16"
    assert argv[argv.index("--nnodes") + 1] == "4"
    # what every process has, and what this role has beyond it
    assert group["env"]["MC_TE_METRIC"] == "true"
    assert group["env"]["NATS_SERVER"] == "nats://<node0>:P+0"
    assert plan["frontend"]["env"]["SGLANG_TBO_DEBUG"] == "1"
    assert plan["services"]["etcd"]["node"] == 0


def test_a_roles_own_env_wins_in_the_plan() -> None:
    text = roles("{env: {A: role}}", "{}", "env: {A: all, B: all}\n")
    prefill, decode = to_json(plan_of(text))["groups"]
    assert (prefill["env"]["A"], prefill["env"]["B"]) == ("role", "all")
    assert decode["env"]["A"] == "all"
