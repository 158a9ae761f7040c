"""The service file of Dynamo in 2025."""

from __future__ import annotations

import pytest

from launcher.base.errors import InputError
from launcher.convert.tree import plain

from .helpers import config_of, convert, notes, plan_of
from .samples import SERVICE, SERVICE_AGG


def test_two_roles() -> None:
    config = config_of(convert(SERVICE))
    assert config["model"] == {"path": "/model", "served_name": "acme/Big-1"}
    assert config["ports"] == {"bootstrap": 30001}
    assert config["frontend"] == {"port": 8100}
    assert config["slurm"] == {"gpus_per_node": 8}
    assert config["prefill"] == {
        "workers": 1,
        "args": {
            "disaggregation-transfer-backend": "nixl",
            "tp-size": 16,
            "dp-size": 16,
            "enable-dp-attention": True,
            "moe-a2a-backend": "deepep",
            "deepep-mode": "normal",
            "chunked-prefill-size": 524288,
        },
        "env": {"MC_TE_METRIC": True},
    }
    assert config["decode"]["args"]["cuda-graph-bs-decode"] == 256
    assert config["decode"]["env"] == {"MC_TE_METRIC": "1"}


def test_ranks_and_nodes_are_those_of_the_source() -> None:
    plan = plan_of(convert(SERVICE))
    assert [(g.name, g.nodes) for g in plan.groups] == [
        ("prefill-0", (0, 1)),
        ("decode-0", (2, 3, 4, 5)),
    ]
    assert all(len(r.gpus) == 8 for g in plan.groups for r in g.ranks)


def test_what_the_launcher_gives_out_is_listed() -> None:
    dropped = notes(convert(SERVICE), "dropped")
    assert "rank 0" in dropped["SGLangWorker.dist-init-addr"]
    assert "node" in dropped["SGLangDecodeWorker.node-rank"]
    assert "no effect" in dropped["SGLangWorker.prefill-round-robin-balance"]
    assert "SGLangWorker.nnodes" not in dropped  # the plan has these nodes


def test_comments_stay_with_their_flags() -> None:
    text = convert(SERVICE).text
    assert "    # experts\n    moe-a2a-backend: deepep\n" in text
    assert (
        "    # for long runs\n    # max-running-requests: 8192\n    # cuda-graph-bs-decode: 64\n"
        "    chunked-prefill-size: 524288  # tokens\n"
    ) in text
    assert text.startswith(
        "# Converted by `sgl-launch convert` from source.yaml (Dynamo service file).\n# A service file of two roles.\n"
    )


def test_aggregated_and_common() -> None:
    converted = convert(SERVICE_AGG)
    config = config_of(converted)
    assert set(config) == {
        "name",
        "engine",
        "sglang_version",
        "model",
        "slurm",
        "aggregated",
        "frontend",
    }
    assert config["aggregated"] == {"workers": 2, "args": {"page-size": 16, "tp-size": 2}}
    assert config["model"] == {"path": "acme/small", "served_name": "acme/small"}
    assert [g.nodes for g in plan_of(converted).groups] == [(0,), (0,)]
    assert {"Processor", "Planner", "Common.kv-block"} <= set(notes(converted, "dropped"))


def test_one_role_of_a_multi_node_set() -> None:
    text = "SGLangDecodeWorker: {model-path: m, tp: 16, nnodes: 2, node-rank: 1}\n"
    converted = convert(text)
    assert [p.key for p in converted.problems] == ["decode"]
    assert "starts them all" in notes(converted, "warning")["SGLangDecodeWorker.node-rank"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SGLangWorker: {tp: 1}\n", "model-path"),
        ("SGLangWorker: 7\n", "SGLangWorker: must be a mapping"),
        ("SGLangWorker: {model-path: m, ServiceArgs: {workers: many}}\n", "whole number"),
        (
            "SGLangWorker: {model-path: m}\nSGLangPrefillWorker: {model-path: m, "
            "disaggregation-mode: prefill}\nSGLangDecodeWorker: {model-path: m}\n",
            "prefill worker too",
        ),
        ("SGLangWorker: {model-path: m, ServiceArgs: {envs: [A]}}\n", "name, value"),
    ],
)
def test_what_can_not_be_understood(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as e:
        convert(text)
    assert all(p.place and p.place.line for p in e.value.problems)


def test_values_are_plain_data() -> None:
    assert plain([1, {"a": 2}]) == [1, {"a": 2}]
