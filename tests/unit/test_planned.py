"""plan.json read back: every shipped config's, and what is no plan, refused in one sentence."""

from __future__ import annotations

import copy
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from launcher.base.errors import WorkError
from launcher.plan.show import to_json
from launcher.run.jsonread import read
from launcher.run.planned import Planned, Settings

from .helpers import BASE, CONFIGS, plan_of, shipped


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_plan_is_read_whole(config: Path) -> None:
    written = json.loads(json.dumps(to_json(shipped(config))))
    plan = Planned.read(written)
    assert [g.name for g in plan.groups] == [g["name"] for g in written["groups"]]
    assert [g.ports for g in plan.groups] == [g["ports"] for g in written["groups"]]
    assert [list(g.argv) for g in plan.groups] == [g["argv"] for g in written["groups"]]
    assert [[r.node for r in g.ranks] for g in plan.groups] == [g["nodes"] for g in written["groups"]]
    assert sorted(plan.services) == sorted(written["services"])
    assert len(plan.frontend.replicas) == len(written["frontend"]["replicas"])
    assert (plan.name, plan.served_name) == (written["name"], written["model"]["served_name"])
    assert plan.config == written["config"]
    assert plan.gpus == sum(g["gpus"] for g in written["groups"])


def _walk(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside: list[Any] = list(value.items()) if isinstance(value, dict) else []
    inside = list(enumerate(value)) if isinstance(value, list) else inside
    return [path, *(p for key, part in inside for p in _walk(part, (*path, key)))]


@pytest.mark.parametrize("wrong", [None, 7, True, "x", [], ["x"], {}, {"a": 1}, [[]], 1.5], ids=repr)
def test_nothing_but_a_sentence_for_any_broken_value(wrong: Any) -> None:
    written = json.loads(json.dumps(to_json(plan_of(BASE))))
    for path in _walk(written):
        broken = copy.deepcopy(written)
        if not path:
            broken = wrong
        else:
            inner: Any = broken
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = wrong
        said = ""
        try:
            Planned.read(broken)
        except WorkError as e:
            said = str(e)
        assert "\n" not in said
        assert not said or said.startswith("plan.json: this ")


def test_missing_keys_are_named() -> None:
    written = to_json(plan_of(BASE))
    del written["groups"][1]["role"]
    with pytest.raises(WorkError) as error:
        Planned.read(written, "runs/t-1/plan.json")
    assert str(error.value) == "runs/t-1/plan.json: this is not a plan of sgl-launch: groups[1].role is missing"


def test_another_schema() -> None:
    written = {**to_json(plan_of(BASE)), "schema": 2}
    with pytest.raises(WorkError, match=r"made by another version of sgl-launch with plan schema 2; sgl-launch .* 1: "):
        Planned.read(written)
    with pytest.raises(WorkError, match=r"made by sgl-launch 9\.1 with plan schema 2"):
        Planned.read({"schema": 2}, made_by="9.1")
    with pytest.raises(WorkError, match="no schema number"):
        Planned.read({"a": 1})


def test_defaults_of_settings_are_the_schemas() -> None:
    config = plan_of(BASE).config
    for one in fields(Settings):
        value: Any = config
        for key in one.metadata.get("path", one.name).split("."):
            value = getattr(value, key)
        assert getattr(Settings(), one.name) == value, one.name
    assert read(Settings, config.model_dump(mode="json", exclude_none=True)) == Settings()
    secured = {"security": {"nats_tls": True, "services": "open"}}
    assert read(Settings, secured) == Settings(nats_tls=True, security_services="open")
