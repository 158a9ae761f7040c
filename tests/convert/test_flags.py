"""SGLang's flags under the names of one version."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.catalog.catalog import load
from launcher.convert.flags import convert_flags, today
from launcher.convert.ledger import Ledger
from launcher.convert.reader import read
from launcher.convert.tree import plain


def converted(text: str, version: str = "0.5.16") -> tuple[dict[str, Any], list[str]]:
    section, _ = read(text, "flags.yaml")
    ledger = Ledger()
    flags = convert_flags(section, load(version), ledger)
    return plain(flags.args), [f"{n.key}: {n.message}" for n in ledger.notes]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("tensor-parallel-size", 8, [("tp-size", 8)]),
        ("tp", 8, [("tp-size", 8)]),
        ("enable-dp-attention", True, [("enable-dp-attention", True)]),
        ("enable-deepep-moe", True, [("moe-a2a-backend", "deepep")]),
        ("cuda-graph-bs", [1, 2], [("cuda-graph-bs-decode", [1, 2])]),
        ("nsa-prefill", "x", [("dsa-prefill-backend", "x")]),
        ("stream-output", True, [("incremental-streaming-output", True)]),
        ("an-own-flag", "x", [("an-own-flag", "x")]),
    ],
)
def test_names_of_today(name: str, value: Any, expected: list[tuple[str, Any]]) -> None:
    assert today(name, value, load("0.5.16"), {name: value}) == (expected, "", "")


def test_an_older_version_keeps_its_names() -> None:
    assert converted("cuda-graph-max-bs: 4\n", "0.5.8")[0] == {"cuda-graph-max-bs": 4}


def test_switches_that_are_off() -> None:
    args, listed = converted("enable-deepep-moe: false\nenable-dp-attention: false\n")
    assert args == {"enable-dp-attention": False}
    assert listed == ["enable-deepep-moe: off, which is the default"]


def test_a_flag_that_was_two() -> None:
    args, listed = converted("disable-cuda-graph: true\ndisable-piecewise-cuda-graph: true\n")
    assert args == {
        "cuda-graph-backend-decode": "disabled",
        "cuda-graph-backend-prefill": "disabled",
    }
    assert listed == []


def test_the_name_of_today_wins() -> None:
    args, listed = converted("enable-deepep-moe: true\nmoe-a2a-backend: mooncake\n")
    assert args == {"moe-a2a-backend": "mooncake"}
    assert listed == ["enable-deepep-moe: moe-a2a-backend is given too, and counts"]


def test_two_spellings_of_one_flag() -> None:
    args, listed = converted("tp-size: 8\ntensor-parallel-size: 4\n")
    assert args == {"tp-size": 8}
    assert len(listed) == 1


def test_ep_moe_was_ep_size() -> None:
    assert converted("tp: 8\nenable-ep-moe: true\n")[0] == {"tp-size": 8, "ep-size": 8}


def test_json_over_several_lines() -> None:
    args, _ = converted('json-model-override-args: |\n  {"a":\n   1}\nload-format: |\n  dummy\n')
    assert args == {"json-model-override-args": '{"a": 1}', "load-format": "dummy"}


@pytest.mark.parametrize("value", ["'{log_dir}/x'", "HEAD_PREFILL_NODE_IP", '"a\\nb"', "", "null"])
def test_values_that_can_not_stay(value: str) -> None:
    args, listed = converted(f"log-level: {value}\n")
    assert args == {}
    assert len(listed) == 1
