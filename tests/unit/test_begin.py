"""`init`, `configs` and placeholders: the first hour on a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from launcher.begin.seen import Partition, models, parse_partitions
from launcher.check import check_config
from launcher.config import load_config
from launcher.plan.make import make_plan

from .helpers import BASE, CONFIGS, REPO, Cli, cluster_of

SINFO = """\
NOTE: maintenance on Friday
gpu*|4|gpu:h100:8(S:0-1)
gpu*|2|gpu:h100:4,tmp:1
small|3|(null)
big|2|gpu:8
"""


@pytest.fixture
def slurm(programs: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A cluster's sinfo, an ip and an srun with pyxis; no site file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "home"))
    monkeypatch.delenv("SGL_LAUNCH_SITE", raising=False)
    for name, text in (
        ("sinfo", f"cat <<'END'\n{SINFO}END"),
        ("srun", "echo ' --container-image=IMAGE'"),
        ("sacctmgr", "echo ai-17"),
        ("ip", "exit 1"),
    ):
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    return programs


def test_partitions_are_read_past_foreign_lines() -> None:
    assert parse_partitions(SINFO) == [
        Partition("gpu", 6, 8, "h100", True),
        Partition("big", 2, 8, "", False),
        Partition("small", 3, 0, "", False),
    ]
    assert str(parse_partitions("x|1|gpu:2\n")[0]) == "x (1 node, 2 GPUs each)"
    assert parse_partitions("sinfo: error: no controller\n") == []


def test_a_site_file_from_what_there_is(slurm: Path, cli: Cli) -> None:
    Path("images").mkdir()
    Path("images/sglang-dynamo.sqsh").touch()
    done = cli("init")
    assert (done.code, done.out) == (0, f"{Path.cwd()}/home/sgl-launch/site.yaml\n")
    assert "next: sgl-launch configs" in done.err
    text = Path(done.out.strip()).read_text()
    site = yaml.safe_load(text)
    assert site["slurm"] == {"partition": "gpu", "gpus_per_node": 8, "account": "ai-17"}
    assert site["container"] == {"runtime": "pyxis", "image": f"{Path.cwd()}/images/sglang-dynamo.sqsh"}
    assert "small (3 nodes, no GPUs that Slurm knows of)" in text
    for config in CONFIGS:  # it lies under every config that ships
        if config.stem != "hetero":
            make_plan(*load_config(str(config)), cluster_of(config))
    again = cli("init")
    assert again.code == 2
    assert "is there already and is kept" in again.err


def test_a_site_file_without_slurm(cli: Cli, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder))
    done = cli("init", "-o", "site.yaml")
    assert done.code == 0, done.err
    assert "No Slurm answers here" in Path("site.yaml").read_text()
    assert set(yaml.safe_load(Path("site.yaml").read_text())) == {"runs"}


@pytest.mark.parametrize("config", [c.stem for c in CONFIGS])
def test_a_rehearsal_of_each_config_needs_no_editing(config: str, slurm: Path, cli: Cli) -> None:
    done = cli("init", config, "--rehearse")
    assert done.code == 0, done.err
    assert "still to be set" not in done.err
    file = f"{config}-rehearsal.yaml"
    assert done.out == f"{file}\n"
    checked = check_config(file, ask_slurm=False)
    assert checked.errors == 0, checked.findings
    assert checked.plan is not None
    assert checked.plan.config.engine == "mocker"
    assert all(c.partition == "gpu" for c in [checked.plan.config.slurm_of(r) for r in checked.plan.config.roles])


def test_a_config_names_what_is_still_to_be_set(slurm: Path, cli: Cli) -> None:
    done = cli("init", "dsr1")
    assert "still to be set in my-dsr1.yaml: model.path: the folder of DeepSeek-R1" in done.err
    findings = [str(f) for f in check_config("my-dsr1.yaml", ask_slurm=False).findings]
    assert len(findings) == 1
    assert "my-dsr1.yaml:6:9: error: model.path: a placeholder, to be set: the folder of DeepSeek-R1" in findings[0]
    refused = cli("submit", "my-dsr1.yaml")
    assert refused.code == 2
    assert "a placeholder, to be set" in refused.err


def test_a_model_that_is_there_is_taken(slurm: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("models/deepseek_r1").mkdir(parents=True)
    Path("models/deepseek_r1/config.json").write_text("{}")
    folder = f"{Path.cwd()}/models/deepseek_r1"
    assert models("deepseek-ai/DeepSeek-R1") == [Path(folder)]
    Path("site.yaml").write_text("container: {runtime: pyxis, image: x, mounts: [/a:/a]}\n")
    monkeypatch.setenv("SGL_LAUNCH_SITE", "site.yaml")
    done = cli("init", "dsr1")
    assert "to be set" not in done.err
    made = yaml.safe_load(Path("my-dsr1.yaml").read_text())
    assert made["model"]["path"] == folder
    assert made["container"]["mounts"] == ["/a:/a", f"{folder}:{folder}"]


def test_partitions_are_named_by_check(slurm: Path, cli: Cli) -> None:
    checked = cli("check", "hetero", "--no-slurm")
    assert checked.code == 2
    assert "decode.slurm.partition: a placeholder, to be set: H200 nodes; your cluster has: gpu (6 nodes" in checked.out


def test_configs_says_what_each_was_run_on(cli: Cli) -> None:
    found = {one["name"]: one for one in json.loads(cli("configs", "--json").out)}
    assert set(found) == {c.stem for c in CONFIGS}
    assert all(one["run_on"] and one["what"] for one in found.values())
    assert (found["dsr1"]["nodes"], found["dsr1"]["gpus"]) == (6, 48)
    text = cli("configs").out
    assert max(map(len, text.splitlines())) <= 80
    readme = (REPO / "README.md").read_text()
    assert all(f"configs/{name}.yaml" in readme for name in found)


def test_a_placeholder_is_no_comparison() -> None:
    Path("c.yaml").write_text(BASE + "env: {A: '<<x', B: 'a<b>', C: '<>'}\n")
    assert not [f for f in check_config("c.yaml", ask_slurm=False).findings if "placeholder" in str(f)]
