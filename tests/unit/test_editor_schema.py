"""The JSON Schema that editors get: it takes every file that ships, `base` and site files, and refuses mistakes."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from launcher.config.yamlpos import parse

from .helpers import BASE, CONFIGS, REPO, Cli

Validate = Callable[[Any], Any]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    from launcher.begin.editor import json_schema

    found: dict[str, Any] = json.loads(json.dumps(json_schema()))  # as it is printed
    return found


@pytest.fixture(scope="module")
def validate(schema: dict[str, Any]) -> Validate:
    made: Validate = fastjsonschema.compile(schema)
    return made


@pytest.mark.parametrize("config", CONFIGS, ids=[c.stem for c in CONFIGS])
def test_it_takes_every_shipped_config(config: Path, validate: Validate) -> None:
    validate(parse(config.read_text(), config.name)[0])


def test_it_takes_the_files_of_the_pages(validate: Validate) -> None:
    taken = 0
    for page in ("site.md", "first-run.md", "image-and-weights.md"):
        text = (REPO / "docs" / page).read_text()
        for block in re.findall(r"(?m)(?:^    .*\n)+", text):
            if re.match(r"    (#|\w+: )", block):
                validate(parse(textwrap.dedent(block), page)[0])
                taken += 1
    assert taken >= 5


@pytest.mark.parametrize(
    "text",
    [
        "base: x.yaml\n",
        "name: 17\n",
        "timeouts: null\nprefill: {args: {tp-size: null, page_size: 16, made-up-by-a-newer: [1, 2]}}\n",
        "slurm: {account: 17, cpus-per-task: 4, cpus_per_task: 4, exclusive: true, mail_type: [END]}\n",
        "slurm: {partition: null, gpus_per_node: 4, nodelist: [n1, n2]}\ndecode: {slurm: {partition: b}}\n",
        "ports: {base: auto, bootstrap: 30001}\nenv_from: [A, {B: 'file:x'}]\nenv: {A: 1, B: true}\n",
        "engine: one-of-a-plug-in\n",
        BASE,
    ],
)
def test_it_takes_what_a_layer_may_say(text: str, validate: Validate) -> None:
    validate(parse(text, "")[0])


@pytest.mark.parametrize(
    "text",
    [
        "enginee: dynamo\n",
        "frontend: {prot: 1}\n",
        "slurm: {gpus_per_node: many}\n",
        "prefill: {workers: -1}\n",
        "prefill: {args: {enable-dp-attention: 3}}\n",
        "prefill: {args: {kv-cache-dtype: fp7}}\n",
        "timeouts: 5\n",
    ],
)
def test_it_refuses_mistakes(text: str, validate: Validate) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaException):
        validate(parse(text, "")[0])


def test_what_an_editor_completes(schema: dict[str, Any], cli: Cli) -> None:
    parts = schema["$defs"]
    assert "moe-a2a-backend" in parts["SplitRole"]["properties"]["args"]["properties"]
    assert {"partition", "cpus-per-task", "cpus_per_task"} <= set(parts["Slurm"]["properties"])
    assert "nodes" not in parts["Slurm"]["properties"]  # the launcher's own
    assert schema["properties"]["engine"]["anyOf"][0]["enum"][:2] == ["dynamo", "sglang"]
    assert json.loads(cli("schema", "--json").out) == schema
