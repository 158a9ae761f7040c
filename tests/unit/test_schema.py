"""Types of the config, and what they turn values into."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import ValidationError

from launcher.base.portnames import GROUP, SERVICES
from launcher.base.words import Ref
from launcher.config import Config
from launcher.config.names import SCRIPT_NAMES

from .helpers import BASE, load, plan_of


def test_defaults() -> None:
    config, _ = load(BASE)
    assert (config.engine, config.runs, config.frontend.port) == ("dynamo", "runs", 8000)
    assert (config.ports.base, config.ports.bootstrap) == ("auto", "auto")
    assert (config.slurm.gpus_per_node, config.slurm.gpu_request) == (8, "gpus-per-node")
    assert config.served_name == "/m"
    assert list(config.roles) == ["prefill", "decode"]
    assert config.prefill is not None
    assert config.prefill.workers == 1


def test_env_values_become_text_as_written() -> None:
    config, _ = load(BASE + "env: {A: true, B: False, C: 1, D: 1.10, E: 04:00:00, F: '', G: on, H: 1e5}\n")
    assert config.env == {
        "A": "true",
        "B": "false",
        "C": "1",
        "D": "1.10",
        "E": "04:00:00",
        "F": "",
        "G": "on",
        "H": "1e5",
    }


def test_numbers_where_text_is_meant() -> None:
    config, _ = load(BASE.replace("name: t", "name: 7") + "model: \n".replace("model: \n", "python: 3.10\n"))
    assert config.name == "7"
    assert config.python == "3.10"


def test_flag_names_have_one_spelling() -> None:
    text = BASE.replace("prefill: {args: {tp-size: 8}}", "prefill: {args: {--tp_size: 8, mem_fraction_static: 0.8}}")
    config, _ = load(text)
    assert config.prefill is not None
    assert config.prefill.args == {"tp-size": 8, "mem-fraction-static": 0.8}


def test_seconds_are_plain_numbers() -> None:
    config, _ = load(BASE + "timeouts: {stop: 1e1, ready: 90}\n")
    assert str(config.timeouts.stop) == "10.0"  # the script computes with it
    assert config.timeouts.ready == 90


def test_sbatch_options_pass_through() -> None:
    config, _ = load(BASE + "slurm: {cpus_per_task: 4, time: 04:00:00, mem-per-cpu: 1G, account: 0017}\n")
    assert config.slurm.given == {
        "cpus-per-task": 4,
        "time": "04:00:00",
        "mem-per-cpu": "1G",
        "account": "0017",
    }


def test_a_config_can_not_be_changed() -> None:
    config, _ = load(BASE)
    with pytest.raises(ValidationError, match="frozen"):
        config.name = "other"  # type: ignore[misc]


def test_the_scripts_own_names_are_all_kept_from_users() -> None:
    ports = {f"{name.upper()}_PORT" for name in (*SERVICES, *GROUP)}
    assert ports <= SCRIPT_NAMES


@pytest.mark.parametrize("engine", ["dynamo", "mocker"])
def test_what_commands_refer_to_is_kept_from_users(engine: str) -> None:
    plan = plan_of(BASE, sets=[f"engine={engine}"])
    commands = [plan.frontend, *plan.services.values(), *(r.command for r in plan.roles)]
    texts = [w.text for c in commands for w in (*c.argv, *c.env.values()) if isinstance(w, Ref)]
    names = {name for text in texts for name in re.findall(r"\$\{(\w+)\}", text)}
    assert "HEAD_ADDR" in names
    assert names <= SCRIPT_NAMES


def test_json_schema_knows_every_key() -> None:
    schema: dict[str, Any] = Config.model_json_schema()
    assert set(schema["properties"]) == set(Config.model_fields)
    port = schema["$defs"]["Frontend"]["properties"]["port"]
    assert {"enum": ["auto", "unix"], "type": "string"} in port["anyOf"]
    assert json.dumps(schema)


def test_config_reference_names_every_key(cli: Any) -> None:
    found = cli("schema")
    assert found.code == 0
    for name in Config.model_fields:
        assert f"| `{name}` |" in found.out
    assert set(json.loads(cli("schema", "--json").out)["properties"]) == {*Config.model_fields, "base"}
