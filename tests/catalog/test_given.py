"""Flags are found under every name that a config may have for them."""

from __future__ import annotations

import pytest

from launcher.catalog.catalog import load
from launcher.catalog.given import Flags, usual_name
from launcher.catalog.releases import WORKER


@pytest.mark.parametrize(
    "key", ["tp-size", "tp_size", "--tp-size", "tp", "tensor-parallel-size", "tensor_parallel_size", "tensor-par"]
)
def test_spellings(key):
    flags = Flags({key: 8})
    assert flags["tp-size"] == 8
    assert flags.written("tp-size") == key
    assert flags.gpus == 8


@pytest.mark.parametrize(
    ("args", "name", "value"),
    [
        ({"cuda-graph-bs": 64}, "cuda-graph-bs-decode", 64),
        ({"cuda_graph_bs_decode": 64}, "cuda-graph-bs-decode", 64),
        ({"cuda-graph-max-bs": 64}, "cuda-graph-max-bs-decode", 64),
        ({"enable-deepep-moe": True}, "moe-a2a-backend", "deepep"),
        ({"enable-deepep-moe": True, "moe-a2a-backend": "mooncake"}, "moe-a2a-backend", "mooncake"),
        ({"enable-deepep-moe": True, "moe-a2a-backend": None}, "moe-a2a-backend", "deepep"),
        ({"enable-deepep-moe": False}, "moe-a2a-backend", None),
        ({"disable-cuda-graph": True}, "cuda-graph-backend-prefill", "disabled"),
        ({"nsa-decode": "fa3"}, "dsa-decode-backend", "fa3"),  # two renames
        ({"enable-ep-moe": True, "tp": 8}, "ep-size", 8),
        ({"pp": 2}, "pp-size", 2),  # more than one flag begins so today
        ({"no-such-flag": 1}, "no-such-flag", 1),
        ({}, "tp-size", None),
    ],
)
def test_renamed(args, name, value):
    assert Flags(args).get(name) == value


@pytest.mark.parametrize(
    ("args", "groups", "gpus"),
    [
        ({"tp-size": 8}, 1, 8),
        ({"tp": 8, "dp": 8, "enable_dp_attention": True}, 8, 8),
        ({"tp-size": 8, "data-parallel-size": 2}, 1, 16),
        ({"tp-size": 8, "attn-dp-size": 4}, 4, 8),
        ({"tp-size": 8, "pp-size": 2, "dp-size": 8, "enable-dp-attention": False}, 1, 128),
        ({"tp-size": "8"}, 1, 1),  # said elsewhere
    ],
)
def test_what_a_worker_takes(args, groups, gpus):
    flags = Flags(args)
    assert (flags.attention_groups, flags.gpus) == (groups, gpus)


def test_one_flag_twice():
    assert Flags({"tp": 8, "page-size": 1, "tp_size": 4}).doubles == [("tp-size", "tp", "tp_size")]


def test_dynamos_flags_are_not_taken_for_beginnings_of_others():
    names = [flag.name for flag in load("1.6.1", WORKER).flags]
    assert [usual_name(name) for name in names] == names
