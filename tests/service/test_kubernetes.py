"""A config as the resource of Dynamo's operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.base.errors import InputError
from launcher.config.load import load_config
from launcher.plan.make import make_plan
from launcher.service.kubernetes import image, resource

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "container={runtime: pyxis, image: nvcr.io#nvidia/ai-dynamo/sglang-runtime:1.4.2}"


def made(config: str, *sets: str) -> tuple[str, dict[str, Any]]:
    path = str(ROOT / "configs" / f"{config}.yaml")
    text = resource(make_plan(*load_config(path, ("model.path=/models/r1", *sets))))
    return text, yaml.safe_load(text)


def test_dsr1() -> None:
    text, found = made("dsr1", IMAGE, "container.mounts=[/a:/b]")
    assert (found["apiVersion"], found["kind"]) == ("nvidia.com/v1alpha1", "DynamoGraphDeployment")
    services = found["spec"]["services"]
    assert list(services) == ["Frontend", "prefill", "decode"]
    decode = services["decode"]
    assert (decode["componentType"], decode["subComponentType"], decode["replicas"]) == ("worker", "decode", 1)
    assert (decode["multinode"], decode["resources"]) == ({"nodeCount": 4}, {"limits": {"gpu": "8"}})
    container = decode["extraPodSpec"]["mainContainer"]
    assert container["image"] == "nvcr.io/nvidia/ai-dynamo/sglang-runtime:1.4.2"
    words = container["args"]
    assert container["command"] == ["python3", "-m", "dynamo.sglang"]  # by which the operator knows SGLang
    assert words[:2] == ["--model-path", "/models/r1"]
    assert words[words.index("--tp-size") + 1] == "32"
    assert "--disaggregation-bootstrap-port" in services["prefill"]["extraPodSpec"]["mainContainer"]["args"]
    assert not {"--dist-init-addr", "--nnodes", "--node-rank"} & set(words)  # the operator's
    assert {"name": "SGLANG_TBO_DEBUG", "value": "1"} in found["spec"]["envs"]
    assert "container.mounts" in text
    assert "${" not in text


def test_aggregated_on_one_node_has_no_multinode() -> None:
    _, found = made("dsr1-2gpu-agg", IMAGE, "slurm.gpus_per_node=2")
    worker = found["spec"]["services"]["worker"]
    assert "multinode" not in worker
    assert "subComponentType" not in worker


@pytest.mark.parametrize(("config", "sets", "why"), [
    ("sglang-cpu-native", ("engine=sglang",), "engine: sglang"),
    ("dsr1", ("container.runtime=none",), "container.image"),
    ("dsr1", ("container={runtime: apptainer, image: /images/x.sif}",), "is a file"),
])  # fmt: skip
def test_what_does_not_map_is_refused(config: str, sets: tuple[str, ...], why: str) -> None:
    with pytest.raises(InputError, match=why):
        made(config, *sets)


def test_images() -> None:
    assert image("docker://lmsysorg/sglang:v1") == "lmsysorg/sglang:v1"
    with pytest.raises(InputError, match="is a file"):
        image("/images/sglang.sqsh")
