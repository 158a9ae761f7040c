"""Drills of the supervisor itself: it cannot start, is told to end in its first second, or is killed at any stage; and
what it must see of others: an engine's own processes, one frontend of several."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.deploy import CHAT, MODEL, Launcher, Run, scratch_folders, small

from . import table
from .drill import everything, gone, wait_event

STANDIN = Path(__file__).resolve().parents[1] / "shapes" / "standin"
SPREAD = small(prefill=(1, 8), decode=(1, 16))  # n001; n002, n003


def told(launcher: Launcher, job: int, timeout: float = 30) -> str:
    """What `wait --for done` says of a job that has failed; it must not hang."""
    done = launcher("wait", str(job), "--for", "done", "--timeout", str(timeout), timeout=timeout + 10)
    assert done.returncode == 1, done
    assert "is not done after" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize("how, said", [
    ("not there", "sgl-launch does not run on n00"),
    ("broken", "sgl-launch is installed without a part that it needs"),
])  # fmt: skip
def test_no_sgl_launch_on_the_first_node(launcher: Launcher, cluster: Cluster, how: str, said: str) -> None:
    script = launcher.folder / "job.sh"
    launcher.write(SPREAD)
    script.write_text(launcher("render", "small.yaml").stdout)
    env = {"SGL_LAUNCH": "/nowhere/sgl-launch"}
    if how == "broken":
        broken = launcher.folder / "sgl-launch"
        entry = "import sys; sys.modules['submitit'] = sys.modules['pydantic'] = None; from launcher.entry import main"
        broken.write_text(f"#!{sys.executable}\n{entry}; main()\n")
        broken.chmod(0o755)
        env = {"SGL_LAUNCH": str(broken)}
    since = time.time()
    done = cluster.run(["sbatch", "--parsable", "--output=%j.out", "job.sh"], cwd=launcher.folder, env=env, check=True)
    job = int(done.stdout)
    run = Run(launcher, launcher.folder / "runs" / f"small-{job}")
    wait_until(lambda: run.has("stop", "done"), 20, "the record's last line")
    clean = time.time() - since
    assert cluster.wait_job(job, 10) == "FAILED"
    line = told(launcher, job)
    assert said in line, line
    left = cluster.left_over(timeout=1)
    table.add(f"Sup: sgl-launch {how} on the first node", clean, clean, 127 if how == "not there" else 1,
              sum(map(len, left.values())), said)  # fmt: skip
    assert left == {}


def test_a_secret_that_is_not_there(launcher: Launcher, cluster: Cluster) -> None:
    (launcher.folder / "key").write_text("s3cret-value\n")
    run = launcher.start(launcher.write(SPREAD), sets=[f"env_from={{OTHER: 'file:{launcher.folder}/key'}}"], wait=None,
                         sbatch=["--begin=now+3"])  # fmt: skip
    (launcher.folder / "key").unlink()
    wait_until(lambda: run.has("stop", "done"), 40, "the record's last line")
    since = wait_event(run, 0, "*", "failed").time
    assert "can't read" in told(launcher, run.job)
    assert "OTHER" in run.output.splitlines()[-1]
    left = cluster.left_over(timeout=1)
    table.add("Sup: a file of env_from is gone", 0, wait_event(run, 0, "stop", "done").time - since, 1,
              sum(map(len, left.values())), "OTHER: can't read FILE")  # fmt: skip
    assert left == {}


def test_export_none(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(SPREAD), sbatch=["--export=NONE"])
    run.chat("login")
    assert launcher("cancel", str(run.job)).returncode == 0
    left = cluster.left_over(timeout=2)
    table.add("Sup: sbatch --export=NONE", None, None, "on", sum(map(len, left.values())), "serves")
    assert left == {}


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15, 0.4])
def test_told_to_end_in_the_first_second(launcher: Launcher, cluster: Cluster, delay: float) -> None:
    run = launcher.start(launcher.write(SPREAD), wait=None)
    wait_until(lambda: cluster.job_state(run.job) == "RUNNING", 20, "the start", every=0.01)
    time.sleep(delay)
    since = time.time()
    cluster.cancel(run.job)
    assert cluster.wait_job(run.job, 20) == "CANCELLED"
    left = cluster.left_over(timeout=5)
    clean = time.time() - since
    line = told(launcher, run.job)
    assert "CANCELLED" in line or "cancelled" in line, line
    count = sum(map(len, left.values()))
    table.add(f"Sup: scancel {delay:g} s after the start", 0, clean, "143", count, "`wait` says so")
    assert left == {}
    assert scratch_folders(cluster) == []


@pytest.mark.parametrize("stage", ["nodes", "keys", "services", "workers", "ready", "serve"])
def test_the_supervisor_is_killed(launcher: Launcher, cluster: Cluster, stage: str) -> None:
    run = launcher.start(launcher.write(SPREAD), wait=None)
    wait_event(run, 0, stage, "started")
    # the first: a child that is just becoming something else looks the same
    supervisor = min((p for _, p in everything(cluster, "n001") if p.argv[2:4] == ("job", "run")), key=lambda p: p.pid)
    since = time.time()
    cluster.kill_processes("n001", [supervisor])

    def nothing() -> bool:
        return not cluster.left_over(timeout=0)

    wait_until(nothing, 20, "the end of all processes")
    clean = time.time() - since
    assert cluster.wait_job(run.job, 10) == "FAILED"
    assert "FAILED" in told(launcher, run.job)
    table.add(f"Sup: kill -9 at stage {stage}", None, clean, "137", 0, "all steps gone; `wait` says FAILED")
    assert clean < 5.0, clean


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[Run]:
    """A stand-in of SGLang's server whose schedulers are processes of their own, behind SGLang's real router."""
    from tests.slurm.deploy import shared_folder

    config = json.loads(SPREAD)
    config |= {"engine": "sglang", "env": {"PYTHONPATH": str(STANDIN)}, "python": sys.executable, "mocker": {}}
    config["on_failure"] = {"max_restarts": 10}
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        yield launcher.start(launcher.write(json.dumps(config)))
        left = cluster.reset()
    assert left == {}, left


def test_processes_of_the_engine_die(engine: Run, cluster: Cluster) -> None:
    wait_event(engine, 0, "serve", "started")
    a_process_of_the_engine_dies(engine, cluster, 1, "n003", "scheduler_DP0_TP0")
    a_process_of_the_engine_dies(engine, cluster, 0, "n002", "data_parallel_controller")
    a_process_of_the_engine_dies(engine, cluster, 0, "n002", "scheduler_DP0_TP0")
    a_process_of_the_engine_dies(engine, cluster, 1, "n003", "detokenizer")
    a_process_of_the_engine_dies(engine, cluster, 0, "n002", "scheduler_DP0_TP0", "STOP")


def a_process_of_the_engine_dies(
    engine: Run, cluster: Cluster, rank: int, node: str, what: str, name: str = "KILL"
) -> None:
    title = f"sglang::{what}"
    victims = wait_until(lambda: [p for p in cluster.processes(node) if p.argv[0] == title], 10, "its process")
    time.sleep(1.5)  # seen by the agent
    old = everything(cluster, "n002", "n003")
    since = time.time()
    cluster.run(["kill", f"-{name}", *(str(p.pid) for p in victims)], node, cwd="/", check=True)
    noticed = wait_event(engine, since, "decode-0", "lost", "restarting", timeout=20)
    left = gone(cluster, old, timeout=10)
    clean = time.time() - since
    back = wait_event(engine, noticed.time, "decode-0", "ready", timeout=40)
    words = [sys.executable, str(CHAT), engine.url, MODEL]
    done = engine.launcher.cluster.run(words, "login", env={"OPENAI_API_KEY": engine.key})
    assert done.returncode == 0, done.stderr
    table.add(f"Eng: {what} of rank {rank}: {name}", noticed.time - since, clean, "on", left,
              f"restarted, in service after {back.time - since:.1f} s")  # fmt: skip
    assert noticed.time - since < 5, noticed
    assert left == 0


def test_one_of_two_frontends_dies(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(SPREAD), sets=["frontend.replicas=2"])
    wait_event(run, 0, "serve", "started")
    node = [line.split()[1] for line in (run.path / "hosts").read_text().splitlines()][1]
    (victim,) = [p for _, p in everything(cluster, node) if "dynamo.frontend" in p.argv]
    since = time.time()
    cluster.kill_processes(node, [victim])
    noticed = wait_event(run, since, "frontend-1", "restarting")
    run.chat("login")  # the other one serves meanwhile
    back = wait_event(run, since, "frontend-1", "ready")
    run.chat("login")
    assert launcher("cancel", str(run.job)).returncode == 0
    left = cluster.left_over(timeout=2)
    table.add("Sup: one of two frontends killed", noticed.time - since, None, "on", sum(map(len, left.values())),
              f"restarted, answers after {back.time - since:.1f} s")  # fmt: skip
    assert left == {}
