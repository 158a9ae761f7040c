"""What public recipes do besides: variables of all roles, flags for each worker, events, images of a day, no sizes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from launcher.convert import convert_text

from .helpers import config_of, notes, plan_of

IMAGE = "lmsysorg/sglang:v0.5.18"


def recipe(**parts: Any) -> str:
    """One prefill and one decode worker of a node each, and what is given on top."""
    sizes = {"tensor-parallel-size": 8, "disaggregation-transfer-backend": "nixl"}
    base: dict[str, Any] = {
        "name": "acme",
        "model": {"path": "hf:acme/big", "container": IMAGE},
        "resources": {"gpus_per_node": 8, "prefill_nodes": 1, "prefill_workers": 1, "decode_nodes": 1,
                      "decode_workers": 1},
        "frontend": {"type": "dynamo", "enable_multiple_frontends": False},
        "backend": {"sglang_config": {"prefill": sizes, "decode": sizes}},
    }  # fmt: skip
    for key, value in parts.items():
        base[key] = {**base.get(key, {}), **value}
    return yaml.safe_dump(base, sort_keys=False)


def test_a_variable_of_all_roles_counts_before_a_roles_own() -> None:
    backend = {"prefill_environment": {"A": "role", "B": "1"}, "decode_environment": {"A": "all"}}
    converted = convert_text(recipe(environment={"A": "all"}, backend=backend), "r.yaml")
    config = config_of(converted)
    assert (config["env"], config["prefill"]["env"]) == ({"A": "all"}, {"B": "1"})
    assert "env" not in config["decode"]
    dropped = notes(converted, "dropped")
    assert "that counts" in dropped["backend.prefill_environment.A"]
    assert "backend.decode_environment.A" not in dropped


def _backend() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(recipe())["backend"]
    return found


def test_flags_for_each_worker_of_a_role() -> None:
    decode = _backend()["sglang_config"]["decode"]
    groups = [{"tp": 8, "mem-fraction-static": 0.8}, {"tp": 8, "mem-fraction-static": 0.7}]
    backend = {"sglang_config": {"prefill_groups": groups, "decode": decode}}
    converted = convert_text(recipe(resources={"prefill_nodes": 2, "prefill_workers": 2}, backend=backend), "r.yaml")
    prefill = config_of(converted)["prefill"]
    assert (prefill["workers"], prefill["args"]["mem-fraction-static"]) == (2, 0.8)
    assert "its workers differ" in notes(converted, "warning")["backend.sglang_config.prefill_groups"]
    assert "this worker alone" in notes(converted, "dropped")["backend.sglang_config.prefill_groups[1]"]
    assert "0.7" in converted.text


@pytest.mark.parametrize(
    ("events", "prefill", "decode"),
    [
        (None, None, None),  # the launcher's own
        ({"prefill": True}, None, None),
        (True, None, {"publisher": "zmq", "topic": "kv-events"}),
        ({"prefill": {"topic": "mine"}, "decode": False}, {"topic": "mine"}, None),
        ({"prefill": False}, False, None),
    ],
)
def test_events_for_a_kv_router(events: Any, prefill: Any, decode: Any) -> None:
    backend = {} if events is None else {"kv_events_config": events}
    converted = convert_text(recipe(frontend={"args": {"router-mode": "kv"}}, backend=backend), "r.yaml")
    config = config_of(converted)
    assert config["prefill"]["args"].get("kv-events-config") == prefill
    assert config["decode"]["args"].get("kv-events-config") == decode
    assert ("send no events" in str(notes(converted, "warning"))) == (events is None)
    ports = {g.role: "kv_events" in g.ports for g in plan_of(converted).groups}
    assert ports == {"prefill": prefill is not False, "decode": decode is not None}


def test_events_without_a_router_that_goes_by_them() -> None:
    converted = convert_text(recipe(backend={"kv_events_config": True}), "r.yaml")
    assert "no router goes by events" in notes(converted, "dropped")["backend.kv_events_config"]


def test_an_image_of_a_day_has_the_release_before_it() -> None:
    model = {"container": "lmsysorg/sglang:nightly-dev-cu13-20260528-0abe6a85"}
    sizes = {"tp-size": 8, "cuda-graph-max-bs": 64}
    text = recipe(model=model, backend={"sglang_config": {"prefill": sizes, "decode": sizes}})
    config = config_of(convert_text(text, "r.yaml"))
    assert config["sglang_version"] == "0.5.12+nightly.20260528"
    assert config["decode"]["args"]["cuda-graph-max-bs"] == 64  # 0.5.14 renamed it


def test_an_image_that_says_nothing_has_a_version_that_knows_the_flags() -> None:
    for flags, version in (({}, "0.5.16"), ({"weight-cache-mode": "client"}, "0.5.17")):
        sizes = {"tp-size": 8, **flags}
        backend = {"sglang_config": {"prefill": sizes, "decode": sizes}}
        converted = convert_text(recipe(model={"container": "own"}, backend=backend), "r.yaml")
        assert config_of(converted)["sglang_version"] == version
        assert any(f"{version} is written" in n.message for n in converted.notes if n.kind == "set")


def test_workers_without_sizes_still_have_a_plan() -> None:
    several = {"enable_multiple_frontends": True}
    sizes = {"sglang_config": {"prefill": {}, "decode": {}}}
    text = recipe(resources={"decode_nodes": 2}, backend=sizes, frontend=several)
    converted = convert_text(text, "r.yaml")
    assert not converted.problems
    assert len(plan_of(converted).frontends) == 1


def test_what_srtctl_fills_in() -> None:
    flags = {"tp-size": 8, "load-publish-endpoint": "auto"}
    text = recipe(model={"path": "$WEIGHTS"}, backend={"sglang_config": {"prefill": flags, "decode": flags}})
    converted = convert_text(text, "r.yaml")
    assert "is filled in when srtctl runs" in notes(converted, "set")["model.path"]
    dropped = notes(converted, "dropped")
    assert "gives out its port" in dropped["backend.sglang_config.prefill.load-publish-endpoint"]
