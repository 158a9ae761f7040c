"""The job's stage `kernels`, with a stand-in for the Python of a GPU node: built once, unpacked on every node."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from warmup.kernels import known_config

from .cluster import Cluster, wait_until
from .deploy import NO_WARMUP, REHEARSAL, ROOT, Launcher

STANDIN = Path(__file__).with_name("gpu_python_standin.py")


@pytest.fixture
def launcher(cluster: Cluster, folder: Path) -> Launcher:
    return Launcher(cluster, folder)


@pytest.fixture
def gpu_python(folder: Path) -> Path:
    """An executable that is called as `python3 -m warmup.kernels ...` would be."""
    script = folder / "gpu-python"
    script.write_text(
        f'#!/bin/sh\nexport STANDIN_LOG="{folder}/calls"\nexec {sys.executable} {STANDIN} "$@"\n'
    )
    script.chmod(0o755)
    return script


@pytest.fixture
def sets(folder: Path, gpu_python: Path) -> list[str]:
    # the mocker's model folder, with the dimensions of the model that the kernels are for
    model = shutil.copytree(ROOT / "configs/tiny-model", folder / "model")
    tiny = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**tiny, **(known_config("DeepSeek-R1") or {})}))
    kernels = f"warmup.kernels={{cache_dir: {folder}/cache, local_dir: /tmp/kernels, required: true}}"
    return [*REHEARSAL, NO_WARMUP, f"model.path={model}", f"python={gpu_python}", kernels]


def calls(folder: Path) -> list[str]:
    return sorted((folder / "calls").read_text().splitlines())


def test_built_once_and_unpacked_on_every_node(launcher: Launcher, folder: Path, sets: list[str]) -> None:
    config = str(ROOT / "configs/dsr1.yaml")
    run = launcher.start(config, sets=sets)
    cluster = launcher.cluster
    others = sorted(f"{n} unpack" for n in list(cluster.hosts)[1:])
    assert [c for c in calls(folder) if "merge" not in c] == sorted(["n001 ensure", *others])
    archives = list((folder / "cache").glob("deepgemm-*"))
    assert len([a for a in archives if a.name.endswith(".tar.gz")]) == 1, archives
    for node in cluster.hosts:
        found = cluster.run("ls /tmp/kernels-0/*/cache | wc -l", node).stdout.strip()
        assert found == "8", f"{node}: {found}"
        # node-local, so each test starts with none
    workers = [p for n in cluster.hosts for p in cluster.processes(n) if "dynamo.mocker" in p.argv]
    environ = {p.pid for p in workers}
    assert environ
    assert launcher("cancel", str(run.job)).returncode == 0
    # a second job finds the archive: nothing is built
    (folder / "calls").unlink()
    for node in cluster.hosts:
        cluster.run("rm -rf /tmp/kernels-0", node, check=True)
    run = launcher.start(config, sets=sets)
    head = (run.path / "logs/kernels-head-0.log").read_text()
    assert '"how": "unpacked"' in head, head
    assert launcher("cancel", str(run.job)).returncode == 0
    for node in cluster.hosts:
        cluster.run("rm -rf /tmp/kernels-0", node, check=True)


def test_a_job_of_its_own_builds_and_the_big_one_waits(launcher: Launcher, folder: Path, sets: list[str]) -> None:
    words = [f"--set={s}" for s in sets]
    config = str(ROOT / "configs/dsr1.yaml")
    done = launcher("submit", config, "--after-kernels", "--wait", "ready", "--timeout", "60", *words, timeout=90)
    outputs = [out.read_text() for out in (folder / "runs").glob("*.out")]
    assert done.returncode == 0, [done.stdout + done.stderr, *outputs]
    assert "dsr1-kernels" in done.stderr
    assert calls(folder).count("n001 ensure") == 2, calls(folder)
    first = next((folder / "runs").glob("dsr1-kernels-*/logs/kernels-head-0.log")).read_text()
    assert '"how": "built"' in first, first
    big = next((folder / "runs").glob("dsr1-[0-9]*/logs/kernels-head-0.log")).read_text()
    assert '"how": "present"' in big or '"how": "unpacked"' in big, big
    assert launcher("cancel", "dsr1").returncode == 0
    for node in launcher.cluster.hosts:
        launcher.cluster.run("rm -rf /tmp/kernels-0", node, check=True)


def test_a_killed_build_leaves_nothing_half_written(launcher: Launcher, folder: Path, sets: list[str]) -> None:
    script = folder / "gpu-python"
    script.write_text(script.read_text().replace("exec ", "STANDIN_SLEEP=1 exec ", 1))
    words = [f"--set={s}" for s in sets]
    done = launcher("warmup", "--kernels", str(ROOT / "configs/dsr1.yaml"), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    cluster = launcher.cluster
    wait_until(
        lambda: cluster.run("ls /tmp/kernels-0/*/cache 2>/dev/null | wc -l", "n001").stdout.strip() not in ("", "0"),
        30,
        "the first kernel",
    )
    assert launcher("cancel", "dsr1-kernels").returncode == 0
    assert not list((folder / "cache").glob("deepgemm-*.tar.gz"))
    bad = cluster.run("for k in /tmp/kernels-0/*/cache/*; do [ -s $k/kernel.cubin ] || echo $k; done", "n001").stdout
    assert bad == ""
    script.write_text(script.read_text().replace("STANDIN_SLEEP=1 ", ""))
    done = launcher("warmup", "--kernels", str(ROOT / "configs/dsr1.yaml"), *words)
    wait_until(lambda: list((folder / "cache").glob("deepgemm-*.tar.gz")), 30, "the archive")
    assert launcher("wait", "dsr1-kernels", "--for", "done", "--timeout", "30").returncode == 0
    for node in cluster.hosts:
        cluster.run("rm -rf /tmp/kernels-0", node, check=True)
