"""KV events: who publishes, and at which port."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.base.words import shown
from launcher.config import load_config
from launcher.plan.make import make_plan
from launcher.plan.model import Plan

KV = {"router_mode": "kv"}
TOPIC = {"publisher": "zmq", "topic": "kv-events"}


def plan_of(tmp_path: Path, **parts: Any) -> Plan:
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({"name": "t", "model": {"path": "/m"}, **parts}))
    config, source = load_config(str(file))
    return make_plan(config, source)


def told(plan: Plan) -> dict[str, Any]:
    """Role -> its kv-events-config, with the port of its first worker."""
    found = {}
    for role in plan.roles:
        words = [shown(w, {"KV_EVENTS_PORT": str(role.groups[0].ports.get("kv_events"))}) for w in role.command.argv]
        if "--kv-events-config" in words:
            found[role.name] = json.loads(words[words.index("--kv-events-config") + 1])
    return found


def test_a_kv_router_is_told_by_prefill_workers(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, frontend=KV, prefill={"workers": 2}, decode={"args": {"tp-size": 4}})
    assert told(plan) == {"prefill": {**TOPIC, "endpoint": "tcp://*:P+35"}}
    assert [str(g.ports.get("kv_events")) for g in plan.groups] == ["P+35", "P+59", "None"]


def test_attention_groups_take_the_ports_after_it(tmp_path: Path) -> None:
    args = {"tp-size": 4, "dp-size": 4, "enable-dp-attention": True}
    plan = plan_of(tmp_path, frontend=KV, aggregated={"workers": 2, "args": args})
    assert [str(g.ports["kv_events"]) for g in plan.groups] == ["P+128", "P+144"]


@pytest.mark.parametrize(
    "parts",
    [
        {"aggregated": {}},
        {"aggregated": {"args": {"disable-radix-cache": True}}, "frontend": KV},
        {"aggregated": {}, "frontend": {**KV, "args": {"no-router-kv-events": True}}},
        {"aggregated": {}, "frontend": {**KV, "args": {"router-kv-events": False}}},
        {"aggregated": {}, "frontend": KV, "engine": "mocker"},
    ],
)
def test_nobody_publishes_for_nothing(tmp_path: Path, parts: dict[str, Any]) -> None:
    plan = plan_of(tmp_path, **parts)
    assert told(plan) == {}
    assert "kv_events" not in plan.groups[0].ports


def test_what_the_config_says_counts(tmp_path: Path) -> None:
    own = {"publisher": "zmq", "endpoint": "tcp://*:5557"}
    decode = {"args": {"kv-events-config": {"topic": "mine"}}}
    plan = plan_of(tmp_path, frontend=KV, prefill={"args": {"kv-events-config": own}}, decode=decode)
    assert told(plan) == {"prefill": own, "decode": {**TOPIC, "topic": "mine", "endpoint": "tcp://*:P+59"}}
