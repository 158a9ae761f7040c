"""`attach` into a container of the user's own: real namespaces stand for those that enroot and apptainer make."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.base.errors import InputError
from launcher.commands.attach import ENTER, attach_command
from launcher.config import load_config
from launcher.plan.make import make_plan
from launcher.plan.show import to_json
from launcher.run.folder import RunFolder

RUN, RANK = "/runs/t-17", "decode-0/0"
INSIDE = "mount -t tmpfs none /mnt && touch /mnt/inside && echo ready && exec sleep 60"


@pytest.fixture
def container() -> Iterator[None]:
    """A process of the rank in user and mount namespaces of its own."""
    program = shutil.which("unshare")
    if not program or subprocess.run([program, "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    env = {**os.environ, "RUN": RUN, "LAUNCH_RANK": f"scratch/{RANK}", "OF_THE_WORKER": "its own"}
    held = subprocess.Popen([program, "-Urm", "bash", "-c", INSIDE], env=env, stdout=subprocess.PIPE, text=True)
    assert held.stdout is not None
    assert held.stdout.readline() == "ready\n"
    yield
    held.kill()
    held.wait()


def enter(run: str, rank: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", ENTER, "enter", run, rank, *words], capture_output=True, text=True, timeout=20)


def test_it_enters_the_container_with_the_workers_environment(container: None) -> None:
    done = enter(RUN, RANK, "bash", "-c", 'ls /mnt; echo "$OF_THE_WORKER"')
    assert (done.stdout, done.stderr, done.returncode) == ("inside\nits own\n", "", 0)
    for run, rank in ((RUN, "decode-0/1"), ("/runs/other-17", RANK)):
        other = enter(run, rank, "true")
        assert other.returncode == 1
        assert f"no container of {rank} on " in other.stderr


def run_with(container: dict[str, Any], folder: Path) -> RunFolder:
    folder.joinpath("c.yaml").write_text(
        "name: t\nmodel: {path: /m}\nprefill: {args: {tp-size: 8}}\ndecode: {args: {tp-size: 16}}\n"
        f"container: {container}\n"
    )
    run = RunFolder(folder / "t-17")
    run.path.mkdir()
    run.write_json("plan.json", to_json(make_plan(*load_config(str(folder / "c.yaml"), sites=()), "slurm")))
    run.path.joinpath("hosts").write_text("0 n001 10.0.0.1 eth0\n1 n002 10.0.0.2 eth0\n2 n003 10.0.0.3 eth0\n")
    run.path.joinpath("events.jsonl").write_text(f'{{"time": {time.time()}, "stage": "nodes", "state": "started"}}\n')
    return run


def test_the_command_of_each_runtime(tmp_path: Path) -> None:
    words = attach_command(run_with({"runtime": "pyxis", "image": "/i"}, tmp_path), "decode-0:1", ["bash"])
    assert words[:2] == ["srun", "--jobid=17"]
    assert "--nodelist=n003" in words
    assert words[-7:] == ["bash", "-c", ENTER, "enter", str(tmp_path / "t-17"), "decode-0/1", "bash"]
    shutil.rmtree(tmp_path / "t-17")
    docker = attach_command(run_with({"runtime": "docker", "image": "i"}, tmp_path), "prefill-0", ["bash"])
    assert docker[-5:] == ["docker", "exec", "-it", "sgl-launch-17-prefill-0-0", "bash"]
    shutil.rmtree(tmp_path / "t-17")
    plain = run_with({"runtime": "none"}, tmp_path)
    assert attach_command(plain, "prefill-0", ["bash"])[-2:] == ["--ntasks=1", "bash"]
    with pytest.raises(InputError, match="it has 0 to 1"):
        attach_command(plain, "decode-0:2", ["bash"])
