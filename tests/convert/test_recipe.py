"""srt-slurm recipes of the first shape."""

from __future__ import annotations

import pytest

from launcher.base.errors import InputError

from .helpers import config_of, convert, notes, plan_of
from .samples import MOCKER, RECIPE, RECIPE_AGG


def test_every_part_has_its_place() -> None:
    config = config_of(convert(RECIPE))
    assert config["name"] == "acme-big-1p3d"
    assert config["engine"] == "dynamo"
    assert config["model"] == {"path": "acme-fp8", "served_name": "acme/Big-1"}
    assert config["container"] == {
        "runtime": "pyxis",
        "image": "acme/sglang:v0.5.8",
        "mounts": ["/data:/mnt/data", "/cache:/cache:ro"],
    }
    assert config["slurm"] == {
        "gpus_per_node": 8,
        "time": "04:00:00",
        "partition": "h100",
        "exclusive": True,
        "gpu_request": "gres",
    }
    assert config["env"] == {"NCCL_DEBUG": "INFO"}
    assert config["timeouts"] == {"ready": 3600}
    assert config["frontend"] == {
        "replicas": 5,
        "one_address": True,
        "router_mode": "kv",
        "args": {"router-temperature": 0.5, "no-kv-events": True},
        "env": {"DYN_LOG": "debug"},
    }
    assert config["prefill"]["args"]["dsa-prefill-backend"] == "trtllm"
    assert config["decode"] == {
        "workers": 3,
        "args": {
            "tp-size": 8,
            "cuda-graph-backend-decode": "disabled",
            "cuda-graph-backend-prefill": "disabled",
            "model-loader-extra-config": '{"threads": 4}',
            "cuda-graph-bs-decode": [1, 2, 4],
            "no-such-flag-here": 7,
            "disaggregation-transfer-backend": "mooncake",
        },
        "env": {"CACHE": "/configs/cache"},
    }


def test_layout() -> None:
    plan = plan_of(convert(RECIPE))
    assert [g.nodes for g in plan.groups] == [(0, 1), (2,), (3,), (4,)]


def test_what_is_listed() -> None:
    converted = convert(RECIPE)
    dropped = notes(converted, "dropped")
    assert dropped["something_new"] == "sgl-launch has no counterpart"
    assert "load" in dropped["benchmark"]
    assert "fills in no variables" in dropped["container_mounts.$HOME/x"]
    assert {
        "model.precision",
        "resources.gpu_type",
        "environment.WHERE",
        "sbatch_directives.nodelist",
        "sbatch_directives.output",
        "container_mounts.$HOME/x",
        "backend.kv_events_config",
        "backend.decode_environment.EMPTY",
        "backend.sglang_config.decode.load-balance-method",
        "backend.sglang_config.prefill.host",
    } <= set(dropped)
    to_set = notes(converted, "set")
    assert "acme-fp8" in to_set["model.path"]
    assert "model.container" not in to_set  # it is an image
    warnings = [n.message for n in converted.notes if n.kind == "warning"]
    assert any("SGLang 0.5.8" in w for w in warnings)
    assert any("no such flag" in w for w in warnings)


def test_comments_keep_their_place() -> None:
    text = convert(RECIPE).text
    assert "# srtctl apply -f recipe.yaml\n\n# the job\nname: acme-big-1p3d\n" in text
    assert "  path: acme-fp8  # from srtslurm.yaml\n" in text
    assert "# three decode workers\nslurm:\n" in text
    assert "  workers: 3  # one a node\n" in text
    assert "    # Parallelism\n    tp-size: 16  # 16 GPUs: 2 nodes\n" in text
    assert '    # moe-runner-backend: "flashinfer_trtllm"\n    dsa-prefill-backend' in text
    assert "    # context-length 4500\n" in text
    assert "    # a long time\n    TORCH_DISTRIBUTED" in text
    assert "#     # twice\n" in text  # with the benchmark, in the list


def test_aggregated() -> None:
    converted = convert(RECIPE_AGG)
    config = config_of(converted)
    assert config["model"] == {"path": "acme/tiny", "served_name": "tiny"}
    assert config["aggregated"] == {"workers": 4, "args": {"tp-size": 2}}
    assert "prefill" not in config
    assert [g.nodes for g in plan_of(converted).groups] == [(0,)] * 4
    dropped = notes(converted, "dropped")
    assert "no workers" in dropped["backend.sglang_config.prefill"]
    assert "no workers" in dropped["resources.gpus_per_decode"]
    assert config["engine"] == "sglang"
    assert config["frontend"] == {"router_mode": "cache_aware"}
    assert "first value" in dropped["sweep"]


def test_a_model_folder_is_mounted_where_srtctl_mounts_it() -> None:
    text = RECIPE.replace('"acme-fp8"', "/models/acme/").replace("      served-model-name: acme/Big-1\n", "")
    config = config_of(convert(text))
    assert config["model"] == {"path": "/model", "served_name": "acme"}
    assert config["container"]["mounts"][0] == "/models/acme:/model"


def test_sweep_takes_its_first_values() -> None:
    text = RECIPE.replace("tp_size: 8", 'tp_size: "{tp}"') + "sweep: {parameters: {tp: [4, 8]}}\n"
    assert config_of(convert(text))["decode"]["args"]["tp-size"] == 4


def test_mocker() -> None:
    converted = convert(MOCKER)
    config = config_of(converted)
    assert config["engine"] == "mocker"
    assert "container" not in config
    assert config["mocker"] == {
        "speedup-ratio": 10,
        "no-enable-prefix-caching": True,
        "block-size": 16,
    }
    assert config["prefill"]["args"] == {"tp-size": 1, "max-running-requests": 128}
    assert config["decode"]["args"] == {"tp-size": 1, "max-running-requests": 64}
    assert [g.nodes for g in plan_of(converted).groups] == [(0,), (1,)]
    assert "backend.mocker_config.prefill.startup-time" in notes(converted, "dropped")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: 3\nname: x\nresources: {}\n", "schema 3"),
        ("base: {schema: 3}\n", "schema 3"),
        ("name: x\nengine: sglang\nroles: {}\nresources: {}\n", "no worker"),
        ("name: x\nengine: trtllm\nroles: {agg: {workers: 1}}\n", "trtllm"),
        ("name: x\nengine: sglang\nroles: {ctx: {workers: 1}}\n", "not a role"),
        ("model-path: org/model\ntp: 8\npage-size: 16\n", "its own --config file"),
        ("#!/bin/bash\nmodule purge\n", "a shell script"),
        ("#SBATCH --nodes=2\nsrun python\n", "a shell script"),
        ("name: x\nmodel: {path: a}\nresources: {}\nbackend: {type: trtllm}\n", "trtllm"),
        ("name: x\nmodel: {path: a}\nbackend: {vllm_config: {aggregated: {}}}\n", "vllm"),
        ("apiVersion: v1\nkind: DynamoGraphDeployment\n", "DynamoGraphDeployment"),
        ("VllmWorker: {model: x}\n", "another engine"),
        ("name: x\nmodel: {path: a}\nprefill: {workers: 1}\ndecode: {}\n", "already"),
        ("name: x\n", "neither"),
        ("- a\n", "must be a mapping"),
        ("", "empty"),
        ("a: [", "YAML"),
        ("a: &x {b: *x}\n", "refers to itself"),
        ("a: !!python/name:os.system\n", "tag !!python/name"),
        ("name: x\nmodel: {path: a}\nresources: {}\nbackend: {}\n", "no worker"),
        ("name: x\nresources: {agg_workers: 1}\nbackend: {}\n", "model.path"),
        ("name: x\nmodel: {path: a}\nresources: {agg_workers: -1}\n", "whole number"),
        ("name: x\nmodel: {path: a}\nresources: {agg_workers: 1}\nfrontend: 3\n", "mapping"),
    ],
)
def test_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert(text)


def test_all_mistakes_at_once() -> None:
    text = "name: x\nresources: {agg_workers: 1, agg_nodes: no}\nfrontend: 3\nbackend: {}\n"
    with pytest.raises(InputError) as e:
        convert(text)
    assert len(e.value.problems) == 3


@pytest.mark.parametrize(
    ("kind", "engine", "warned"),
    [
        ("type: sglang-router, args: {policy: random, port: 9, prefill: x}", "sglang", False),
        ("use_sglang_router: true, sglang_router_args: {policy: random, port: 9}", "sglang", False),
        ("type: sgl-router, args: {policy: random}", "sglang", True),
        ("dynamo_frontend_args: {router-mode: random, http-port: 9}", "dynamo", False),
    ],
)
def test_which_router_decides_the_engine(kind: str, engine: str, warned: bool) -> None:
    text = RECIPE_AGG.replace("type: sglang, args: {policy: cache_aware}", kind)
    converted = convert(text)
    config = config_of(converted)
    assert config["engine"] == engine
    assert any("serves through" in n.message for n in converted.notes) == warned
    if not warned:
        assert config["frontend"] == {"router_mode": "random", "port": 9}


@pytest.mark.parametrize(("value", "expected"), [("true", {"where": "own"}), ("false", None)])
def test_nats_and_etcd_on_a_node_of_their_own(value: str, expected: object) -> None:
    text = RECIPE + f"infra: {{etcd_nats_dedicated_node: {value}, nats_max_payload_mb: 64}}\n"
    converted = convert(text)
    assert config_of(converted).get("services") == expected
    assert "infra.nats_max_payload_mb" in notes(converted, "dropped")
    assert converted.problems == ()


def test_what_a_fuzzer_found() -> None:
    with pytest.raises(InputError, match="empty"):
        convert("base: null\noverride_x: {name: a}\n", "base")
    with pytest.raises(InputError, match="empty"):
        convert(RECIPE + "base: null\n")
    text = RECIPE.replace('"acme-fp8"', '"a\\nb"')
    converted = convert(text)
    assert [p.key for p in converted.problems] == ["model.path"]
    assert config_of(converted)["model"]["path"] == "a\nb"
    convert("SGLangWorker: {model-path: m, nnodes: 2}\n")


def test_a_key_given_twice() -> None:
    text = RECIPE.replace("      host: 0.0.0.0\n", "      tensor-parallel-size: 16\n")
    converted = convert(text)
    twice = [n for n in converted.notes if "given again" in n.message]
    assert [n.key for n in twice] == ["backend.sglang_config.prefill.tensor-parallel-size"]
    assert config_of(converted)["prefill"]["args"]["tp-size"] == 16
