"""Flags that harm or do nothing under an engine: every row has its proof, its rule exists, and `check` says it."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from launcher.catalog.idle import Idle, idle_flags, rows
from launcher.check import check_config

BASE = {
    "name": "k",
    "sglang_version": "0.5.23",
    "model": {"path": "/model"},
    "prefill": {"args": {"tp-size": 1}},
    "decode": {"args": {"tp-size": 1}},
}


def said(tmp_path: Path, **parts: object) -> list[str]:
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({**BASE, **parts}))
    return [str(f) for f in check_config(str(file), ask_slurm=False, look=False).findings]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.flags[0])
def test_a_row_has_its_proof_and_its_rule(row: Idle) -> None:
    assert row.proof
    assert row.why
    if row.rule == "launcher.front.owned":
        from launcher.front.owned import OWNED_FRONTEND_FLAGS, OWNED_SERVER_FLAGS

        assert set(row.flags) <= set(OWNED_SERVER_FLAGS if row.where == "roles" else OWNED_FRONTEND_FLAGS)
    elif row.rule:
        module, _, function = row.rule.rpartition(".")
        assert getattr(importlib.import_module(module), function) in importlib.import_module(module).CHECKS


@pytest.mark.parametrize("flag", ["enable-http2", "warmups", "enable-cache-report"])
@pytest.mark.parametrize("engine", ["dynamo", "sglang"])
def test_flags_of_sglangs_own_server(tmp_path: Path, engine: str, flag: str) -> None:
    args = {flag: "x" if flag == "warmups" else True}
    found = [s for s in said(tmp_path, engine=engine, decode={"args": args}) if "does nothing here" in s]
    assert len(found) == (engine == "dynamo")
    assert all(f"decode.args.{flag}" in s for s in found)


def test_a_config_of_sglangs_own_is_without_the_jobs_key(tmp_path: Path) -> None:
    for engine, count in (("sglang", 1), ("dynamo", 0)):
        found = said(tmp_path, engine=engine, decode={"args": {"config": "/x.yaml"}})
        assert len([s for s in found if "the file with the job's key" in s]) == count


def test_a_kv_routers_flags(tmp_path: Path) -> None:
    for mode, count in (("random", 1), ("kv", 0)):
        frontend = {"args": {"router-temperature": 0.5}, "router_mode": mode}
        found = said(tmp_path, frontend=frontend, sglang_version="0.5.16", dynamo_version="1.4.2")
        assert len([s for s in found if "without frontend.router_mode: kv" in s]) == count
    assert list(idle_flags({"router-temperature": False}, "frontend", "dynamo", None)) == []


def test_deepep_v2_for_an_architecture_that_lacks_it(tmp_path: Path) -> None:
    for architecture, count in (("Qwen2MoeForCausalLM", 1), ("Qwen3MoeForCausalLM", 0)):
        folder = tmp_path / architecture
        folder.mkdir()
        (folder / "config.json").write_text(f'{{"architectures": ["{architecture}"], "num_experts": 8}}')
        args = {"args": {"moe-a2a-backend": "deepep_v2", "tp-size": 8, "ep-size": 8}}
        found = [s for s in said(tmp_path, model={"path": str(folder)}, decode=args) if "refuses deepep_v2" in s]
        assert len(found) == count


def test_dynamos_frontend_reads_a_kv_routers_flags_for_that_mode_alone() -> None:
    spec = find_spec("dynamo.frontend")
    if spec is None or spec.origin is None:
        pytest.skip("ai-dynamo is not installed")
    text = Path(spec.origin).with_name("main.py").read_text()
    assert text.count("KvRouterConfig(") == 1
    assert 'if config.router_mode == "kv":\n        router_mode = RouterMode.KV\n        kv_router_config = KvR' in text
