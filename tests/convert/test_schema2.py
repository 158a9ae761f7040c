"""srt-slurm's second schema, its cluster file, command lines, files given together and every variant."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from launcher.base.errors import InputError
from launcher.commands.convert import command
from launcher.convert import Converted, convert_command, convert_text

from .helpers import config_of, convert, notes, plan_of
from .samples import RECIPE, RECIPE2, SERVICE, VARIANTS

CLUSTER = """\
# the cluster
default_account: acme
default_partition: batch
default_time_limit: "04:00:00"
gpus_per_node: 8
network_interface: bond0
default_mounts: {/lustre: /lustre}
default_bash_preamble: |
  ulimit -n 65536
srtctl_root: /opt/srtctl
model_paths: {acme-fp8: /models/acme}
containers: {img: /images/acme+sglang+v0.5.18.sqsh}
"""
SERVER = (
    "python3 -m sglang.launch_server --model-path /models/big --tp 16 --dist-init-addr node0:5000 --nnodes 2 "
    "--node-rank 0 --host 0.0.0.0 --port 30000 --mem-fraction-static 0.85 --cuda-graph-bs 1 2 4 --trust-remote-code"
)


def test_a_recipe_of_the_second_schema() -> None:
    converted = convert_text(RECIPE2, "r.yaml")
    config = config_of(converted)
    assert (config["sglang_version"], config["services"]) == ("0.5.18", {"where": "own"})
    assert config["frontend"] == {"replicas": 2, "one_address": True, "router_mode": "kv"}
    assert config["prefill"] == {
        "workers": 2,
        "args": {"tp-size": 4, "cuda-graph-max-bs-decode": 64, "disaggregation-transfer-backend": "mooncake"},
        "env": {"NCCL_DEBUG": "INFO"},
    }
    assert "# two of them" in converted.text
    assert "# graphs" in converted.text
    dropped = notes(converted, "dropped")
    assert "goes over TCP" in dropped["dynamo.request_plane"] or "tcp" in dropped["dynamo.request_plane"]
    assert dropped["roles.prefill.critical"] == "on_failure says what follows when a worker ends"
    assert "beside the job" in dropped["services[1]"]
    assert "rev v1.5.1" in notes(converted, "set")["dynamo"]


def test_colocated_decode_workers_take_the_nodes_of_prefill() -> None:
    plan = plan_of(convert(RECIPE2))
    nodes = {g.name: g.nodes for g in plan.groups}
    assert nodes == {"prefill-0": (0,), "prefill-1": (0,), "decode-0": (1,), "decode-1": (1,)}


def test_the_image_tells_the_version() -> None:
    converted = convert_text(RECIPE, "r.yaml")
    config = config_of(converted)
    assert config["sglang_version"] == "0.5.8"
    assert config["decode"]["args"]["disable-cuda-graph"] is True
    assert "as asked for" in str(convert(RECIPE).notes)


def test_attention_groups_are_a_pair() -> None:
    recipe = RECIPE2.replace(
        "tensor-parallel-size: 4\n", "tp-size: 4\n      dp-size: 4\n      enable-dp-attention: true\n"
    )
    args = config_of(convert(recipe, sglang="0.5.23"))["prefill"]["args"]
    assert args["attn-dp-size"] == 4
    assert not {"dp-size", "enable-dp-attention"} & set(args)


def test_a_worker_keeps_off_a_shared_node() -> None:
    recipe = (
        "name: x\nmodel: {path: 'hf:a/b', container: 'acme/x:1'}\n"
        "resources: {gpus_per_node: 8, prefill_nodes: 1, prefill_workers: 1, gpus_per_prefill: 4,\n"
        "  decode_nodes: 1, decode_workers: 2, gpus_per_decode: 4}\n"
        "backend: {sglang_config: {prefill: {tp-size: 4}, decode: {tp-size: 4}}}\n"
    )
    converted = convert(recipe)
    assert config_of(converted)["decode"]["nodes"] == "own"
    assert [g.nodes for g in plan_of(converted).groups] == [(0,), (1,), (1,)]


def test_a_cluster_file_becomes_a_site_file() -> None:
    assert config_of(convert_text(CLUSTER, "srtslurm.yaml")) == {
        "slurm": {"gpus_per_node": 8, "account": "acme", "partition": "batch", "time": "04:00:00"},
        "network": {"interface": "bond0"},
        "container": {"mounts": ["/lustre:/lustre"]},
        "setup": ["ulimit -n 65536"],
    }


def test_names_of_the_cluster_file(tmp_path: Path) -> None:
    (tmp_path / "srtslurm.yaml").write_text(CLUSTER)
    (tmp_path / "r.yaml").write_text(RECIPE2.replace("acme/sglang:v0.5.18", "img"))
    done = CliRunner().invoke(command, [str(tmp_path / "r.yaml"), "--srtslurm", str(tmp_path / "srtslurm.yaml")])
    config = config_of(Converted(done.stdout, ()))
    assert config["model"] == {"path": "/model", "served_name": "acme/Big-2"}
    assert config["container"]["image"] == "/images/acme+sglang+v0.5.18.sqsh"
    assert config["container"]["mounts"] == ["/models/acme:/model"]
    assert config["sglang_version"] == "0.5.18"


def test_a_command_line() -> None:
    config = config_of(convert_command(SERVER.split()))
    assert (config["engine"], config["model"]) == ("sglang", {"path": "/models/big"})
    assert config["slurm"] == {"gpus_per_node": 8}
    assert config["aggregated"]["args"] == {
        "tp-size": 16, "mem-fraction-static": 0.85, "cuda-graph-bs-decode": [1, 2, 4], "trust-remote-code": True,
    }  # fmt: skip


def test_two_command_lines() -> None:
    words = []
    for mode in ("prefill", "decode"):
        words += f"A=1 {SERVER} --disaggregation-mode {mode} --disaggregation-transfer-backend=nixl --".split()
    plan = plan_of(convert_command(words))
    assert [(g.name, g.nodes) for g in plan.groups] == [("prefill-0", (0, 1)), ("decode-0", (2, 3))]
    with pytest.raises(InputError, match="not a command"):
        convert_command([*words, "rm", "-rf"])


def test_dynamos_slurm_jobs() -> None:
    text = (
        "python3 submit_job_script.py --template t.j2 --model-dir /models/r1 --config-dir /configs --container-image "
        "/i.sqsh --gpus-per-node 8 --network-interface eth3 --prefill-nodes 2 --decode-nodes 4 --account acme"
    )
    converted = convert_command(text.split())
    config = config_of(converted)
    assert config["container"]["mounts"] == ["/models/r1:/model", "/configs:/configs"]
    assert config["slurm"] == {"gpus_per_node": 8, "account": "acme"}
    assert [g.nodes for g in plan_of(converted).groups] == [(0, 1), (2, 3, 4, 5)]
    assert "h100.sh" in str(converted.notes)


def test_service_files_given_together(tmp_path: Path) -> None:
    cut = SERVICE.index("SGLangDecodeWorker:")
    one, two = tmp_path / "prefill.yaml", tmp_path / "decode.yaml"
    one.write_text(SERVICE[:cut])
    two.write_text(SERVICE[cut:])
    done = CliRunner().invoke(command, [str(one), str(two)])
    assert [g.nodes for g in plan_of(Converted(done.stdout, ())).groups] == [(0, 1), (2, 3, 4, 5)]
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert "this is none" in str(CliRunner().invoke(command, [str(tmp_path / "r.yaml"), str(two)]).exception)


def test_every_variant(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text(VARIANTS)
    done = CliRunner().invoke(command, [str(tmp_path / "v.yaml"), "--all", "-o", str(tmp_path / "out")])
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert "base.yaml" in written
    assert len(written) == len(done.stderr.splitlines())
