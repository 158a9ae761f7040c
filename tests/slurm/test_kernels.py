"""The job's stage `kernels`, with a stand-in for the Python of a GPU node: built once, unpacked on every node."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from warmup.kernels import known_config, read

from .cluster import Cluster, wait_until
from .deploy import NO_WARMUP, REHEARSAL, ROOT, Launcher, Run

CACHE = "/tmp/kernels-0/*/deepgemm/cache"
STANDIN = Path(__file__).with_name("gpu_python_standin.py")


@pytest.fixture
def launcher(cluster: Cluster, folder: Path) -> Launcher:
    return Launcher(cluster, folder)


@pytest.fixture
def gpu_python(folder: Path) -> Path:
    """An executable that is called as `python3 -m warmup.kernels ...` would be."""
    script = folder / "gpu-python"
    script.write_text(
        f'#!/bin/sh\nexport STANDIN_LOG="{folder}/calls"\nSTANDIN_COMPILES=1 exec {sys.executable} {STANDIN} "$@"\n'
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


class Opens:
    """Counts how often a file is opened, by any node: they share its inode. (Events that are alike and follow each
    other closely count once: it is never too many.)"""

    def __init__(self, file: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK)
        assert self._libc.inotify_add_watch(self._descriptor, str(file).encode(), 0x20) >= 0  # IN_OPEN
        self.count, self._going = 0, True
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while self._going:
            select.select([self._descriptor], [], [], 0.05)
            with contextlib.suppress(BlockingIOError):
                self.count += len(os.read(self._descriptor, 4096)) // 16  # struct inotify_event without a name

    def end(self) -> int:
        self._going = False
        self._thread.join()
        os.close(self._descriptor)
        return self.count


def said(run: Run, node: int, first: int = 0) -> dict[str, Any]:
    """What a node's step said last."""
    name = "kernels-head-0" if node == first else f"kernels-all-{node - 1}"
    lines = (run.path / f"logs/{name}.log").read_text().splitlines()
    found: dict[str, Any] = json.loads([line for line in lines if line.startswith("{")][-1])
    return found


def test_built_once_and_read_once_on_every_node(launcher: Launcher, folder: Path, sets: list[str]) -> None:
    config = str(ROOT / "configs/dsr1.yaml")
    empty(launcher)
    run = launcher.start(config, sets=sets)
    cluster, hosts = launcher.cluster, list(launcher.cluster.hosts)
    assert calls(folder).count("n001 ensure") == 1
    assert {c for c in calls(folder) if c.endswith("unpack")} == {f"{n} unpack" for n in hosts[1:]}
    archive, *more = (folder / "cache").glob("kernels-*.tar.gz")
    assert more == []
    for node in hosts:
        found = cluster.run(f"ls {CACHE} | wc -l", node).stdout.strip()
        assert found == "8", f"{node}: {found}"
    assert [said(run, n)["how"] for n in range(6)] == ["built", *["unpacked"] * 5]
    worker = next(p for p in cluster.processes(hosts[0]) if "dynamo.mocker" in p.argv)
    environ = cluster.run(f"tr '\\0' '\\n' </proc/{worker.pid}/environ", hosts[0]).stdout
    assert re.search(r"^TRITON_CACHE_DIR=/tmp/kernels-0/[0-9a-f]{12}/triton$", environ, re.M), environ
    assert "SGLANG_JIT_DEEPGEMM_PRECOMPILE=0\n" in environ
    # what the first worker of each role has compiled is kept, before it is said that it serves
    run.wait_event("serve", "started")
    status = json.loads(launcher("status", str(run.job), "--json").stdout)
    assert "compilers seen: 0; new files of caches: 2 (triton 2)" in status["kernels"], status["kernels"]
    assert {f"triton/{n}/k.cubin" for n in (hosts[0], hosts[2])} < set(read(archive).files)
    assert launcher("cancel", str(run.job)).returncode == 0
    empty(launcher)
    # a second job finds the archive: nothing is built, and each node reads it once
    (folder / "calls").unlink()
    script = folder / "gpu-python"
    script.write_text(script.read_text().replace("STANDIN_COMPILES=1 ", ""))
    opens = Opens(archive)
    run = launcher.start(config, sets=sets)
    assert opens.end() <= len(hosts) + 2  # and the two that look whether there is something new
    assert [said(run, n)["how"] for n in range(6)] == ["unpacked"] * 6
    assert {said(run, n)["read_bytes"] for n in range(6)} == {archive.stat().st_size}
    run.wait_event("serve", "started")
    status = json.loads(launcher("status", str(run.job), "--json").stdout)
    assert "read by 6 nodes" in status["kernels"]
    assert "compilers seen: 0; new files of caches: 0" in status["kernels"]
    assert launcher("cancel", str(run.job)).returncode == 0
    empty(launcher)


def empty(launcher: Launcher) -> None:
    for node in launcher.cluster.hosts:
        launcher.cluster.run("rm -rf /tmp/kernels-0*", node, check=True)


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
    empty(launcher)


def test_a_killed_build_leaves_nothing_half_written(launcher: Launcher, folder: Path, sets: list[str]) -> None:
    script = folder / "gpu-python"
    script.write_text(script.read_text().replace("STANDIN_COMPILES=1", "STANDIN_SLEEP=1"))
    words = [f"--set={s}" for s in sets]
    done = launcher("warmup", "--kernels", str(ROOT / "configs/dsr1.yaml"), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    cluster = launcher.cluster
    wait_until(
        lambda: cluster.run(f"ls {CACHE} 2>/dev/null | wc -l", "n001").stdout.strip() not in ("", "0"),
        30,
        "the first kernel",
    )
    assert launcher("cancel", "dsr1-kernels").returncode == 0
    assert not list((folder / "cache").glob("kernels-*.tar.gz"))
    bad = cluster.run(f"for k in {CACHE}/*; do [ -s $k/kernel.cubin ] || echo $k; done", "n001").stdout
    assert bad == ""
    script.write_text(script.read_text().replace("STANDIN_SLEEP=1 ", ""))
    done = launcher("warmup", "--kernels", str(ROOT / "configs/dsr1.yaml"), *words)
    wait_until(lambda: list((folder / "cache").glob("kernels-*.tar.gz")), 30, "the archive")
    assert launcher("wait", "dsr1-kernels", "--for", "done", "--timeout", "30").returncode == 0
    empty(launcher)
