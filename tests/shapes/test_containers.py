"""Container runtimes. Docker and apptainer are stand-ins on this machine, pyxis the test cluster's."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.local.run import Launcher, Run, wait_until
from tests.slurm.cluster import Cluster
from tests.slurm.deploy import Launcher as SlurmLauncher
from tests.slurm.deploy import check_nothing_left, environ

from .configs import config, role

RUNTIMES = Path(__file__).with_name("runtimes")
SECRET = "hf_not_for_others"


@pytest.fixture
def contained(local: Launcher, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    """sgl-launch with the stand-ins first on PATH, and a token in its environment."""
    monkeypatch.setenv("PATH", f"{RUNTIMES}:{os.environ['PATH']}")
    monkeypatch.setenv("STANDIN_DOCKER", str(local.folder / "docker"))
    monkeypatch.setenv("STANDIN_APPTAINER", str(local.folder / "apptainer"))
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return local


def start(launcher: Launcher, runtime: str) -> Run:
    text = config(
        "sglang",
        gpus_per_node=2,
        prefill=role(gpus=2),
        decode=role(gpus=1),
        container={"runtime": runtime, "image": "sglang:1", "mounts": ["/models/a b:/model:ro"]},
        timeouts={"ready": 60, "stop": 4},
    )
    path = launcher.folder / "c.yaml"
    path.write_text(text)
    return launcher.start(config=path)


def containers(launcher: Launcher, state: str = "json") -> dict[str, dict[str, object]]:
    """What docker's stand-in was told of each container, by its name."""
    return {p.stem: json.loads(p.read_text()) for p in (launcher.folder / "docker").glob(f"*.{state}")}


def caches(run: Run, mounts: Sequence[str]) -> Sequence[str]:
    """The mounts, if they are the node's folder of what compilers keep and that of the archives, at the same paths."""
    node, archives = (mount.split(":") for mount in mounts)
    assert node == [node[0]] * 2
    assert re.fullmatch(r"/tmp/sgl-launch-kernels-\d+/[0-9a-f]+", node[0]), mounts
    assert archives == [str(run.path.parent / f"kernels_{os.geteuid()}")] * 2
    return mounts


def test_docker(contained: Launcher) -> None:
    run = start(contained, "docker")
    run.wait_event("serve", "started")  # so that nothing of the caches is under way
    found = containers(contained)
    assert {re.sub(r"-L\d+-", "-", name) for name in found} == {
        "sgl-launch-prefill-0-0",
        "sgl-launch-decode-0-0",
        "sgl-launch-frontend-0",
    }
    for one in found.values():
        options = one["options"]
        assert isinstance(options, dict)
        flags = {k: v[0] if len(v) == 1 else v for k, v in options.items()}
        plain = [flags[f"--{name}"] for name in ("gpus", "network", "ipc", "shm-size")]
        assert plain == ["all", "host", "host", "10G"]
        assert flags["--ulimit"] == ["memlock=-1", "stack=67108864", "nofile=65536:65536"]
        assert flags["--cap-add"] == "CAP_SYS_PTRACE"
        volumes = flags["--volume"]
        assert isinstance(volumes, list)
        assert volumes == ["/models/a b:/model:ro", f"{run.path}:{run.path}", *caches(run, volumes[2:])]
        assert "HF_TOKEN" in one["env"]
        assert SECRET not in str(one["argv"])
        assert "PYTHONPATH" not in one["env"]  # type: ignore[operator]
    assert contained("cancel", str(run.path)).returncode == 0
    contained.wait_gone(5)
    assert not containers(contained)


def test_a_container_that_outlives_its_step_is_removed(contained: Launcher) -> None:
    run = start(contained, "docker")
    name = next(n for n in containers(contained) if "decode" in n)
    for process in contained.processes(run.job):
        if "bash" in process.argv[0] and "decode-0" in process.argv[-1] and "in_container" in " ".join(process.argv):
            os.kill(process.pid, signal.SIGKILL)
    clients = [p for p in contained.processes(run.job) if name in p.argv and "run" in p.argv]
    for process in clients:
        os.kill(process.pid, signal.SIGKILL)
    assert name in containers(contained)
    assert contained("cancel", str(run.path)).returncode == 0
    wait_until(lambda: not containers(contained), 10, "no container")
    contained.wait_gone(5)


def test_apptainer(contained: Launcher) -> None:
    run = start(contained, "apptainer")
    calls = (contained.folder / "apptainer").read_text()
    mounts = f"--bind /models/a b:/model:ro --bind {run.path}:{run.path}"
    found = re.findall(rf"--nv {re.escape(mounts)} --bind (\S+) --bind (\S+) sglang:1 bash {run.path}/job.sh", calls)
    assert len(found) >= 3, calls
    for two in found:
        caches(run, two)
    assert SECRET not in calls
    (worker,) = [p for p in contained.processes(run.job) if "prefill" in p.argv]
    env = Path(f"/proc/{worker.pid}/environ").read_text().split("\0")
    assert f"HF_TOKEN={SECRET}" in env
    assert "APPTAINER_CONTAINER=sglang:1" in env
    assert contained("cancel", str(run.path)).returncode == 0
    contained.wait_gone(5)


def test_pyxis_is_slurms(contained: Launcher) -> None:
    path = contained.folder / "c.yaml"
    path.write_text(config("sglang", container={"runtime": "pyxis", "image": "i"}))
    done = contained("submit", str(path), "--cluster", "local")
    assert done.returncode == 2
    assert "pyxis is part of Slurm" in done.stderr


def test_pyxis(slurm: SlurmLauncher, cluster: Cluster) -> None:
    text = config("sglang", container={"runtime": "pyxis", "image": "/i.sqsh", "mounts": ["/models/a:/model"]})
    run = slurm.start(slurm.write(text))
    for node, group in (("n001", "prefill"), ("n002", "decode")):
        (worker,) = [p for p in cluster.processes(node) if "sglang.launch_server" in p.argv and group in p.argv]
        env = environ(cluster, node, worker)
        assert env["FAKE_PYXIS_CONTAINER_IMAGE"] == "/i.sqsh"
        first, second, *others = env["FAKE_PYXIS_CONTAINER_MOUNTS"].split(",")
        assert (first, second) == ("/models/a:/model", f"{run.path}:{run.path}")
        caches(run, others)
    assert slurm("cancel", str(run.path)).returncode == 0
    check_nothing_left(cluster)
