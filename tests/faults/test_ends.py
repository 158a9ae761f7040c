"""Drills that end the job: what failed is named within seconds, and nothing is left on any node."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.deploy import SGL_LAUNCH, Launcher, Run, program, small

from . import table
from .drill import ended, events, everything, wait_event

SHARED = small(prefill=(1, 1), decode=(1, 1))  # all on n001
SPREAD = small(prefill=(1, 8), decode=(1, 16))  # n001; n002, n003


def kill(cluster: Cluster, node: str, what: str) -> float:
    """Kill -9 what runs this program on a node; returns when."""
    (victim,) = [p for _, p in everything(cluster, node) if program(p) == what]
    since = time.time()
    cluster.kill_processes(node, [victim])
    return since


def test_a_worker_that_never_becomes_ready(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(SPREAD), sets=["timeouts.ready=6"], wait=None)
    mocker = wait_until(
        lambda: [p for _, p in everything(cluster, "n002") if "dynamo.mocker" in p.argv], 20, "the mocker", every=0.01
    )[0]
    cluster.run(["kill", "-STOP", str(mocker.pid)], "n002", cwd="/", check=True)  # hangs, and ignores TERM
    since = wait_event(run, 0, "ready", "failed").time
    assert since - wait_event(run, 0, "ready", "started").time < 6 + 6
    line = ended("4 a worker that never becomes ready", run, since, status="1", said="not registered")
    assert re.search(r"not registered after 6 s: .*decode-0 on n002 \(log \S+/logs/decode-0-0.log\)", run.output), line


@pytest.mark.parametrize("what, name, drill", [
    ("nats-server", "nats", "5 NATS killed"),
    ("etcd", "etcd", "6a etcd killed, and not back"),
    ("dynamo.frontend", "frontend", "7 the frontend killed"),
])  # fmt: skip
def test_a_service_killed(launcher: Launcher, cluster: Cluster, what: str, name: str, drill: str) -> None:
    run = launcher.start(launcher.write(SHARED), sets=["on_failure.frontends=stop"])
    wait_event(run, 0, "serve", "started")
    since = kill(cluster, "n001", what)
    ended(drill, run, since, status="137", said=f"{name} (rank 0) ended with exit status 137 on n001; its log: ")


def test_services_that_come_back(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(SHARED), sets=["on_failure.services=restart"])
    wait_event(run, 0, "serve", "started")
    for what, name, drill in (
        ("nats-server", "nats", "5b NATS killed, services: restart"),
        ("etcd", "etcd", "6b etcd killed, back within the lease"),
        ("dynamo.frontend", "frontend", "7b the frontend killed, frontends: restart"),
    ):
        since = kill(cluster, "n001", what)
        noticed = wait_event(run, since, name, "restarting").time

        def answers() -> bool:
            try:
                return bool(run.chat("login"))
            except AssertionError:
                return False

        wait_until(answers, 20, f"an answer after the loss of {name}")
        table.add(drill, noticed - since, None, "on", 0, f"an answer again after {time.time() - since:.1f} s")
    time.sleep(12)  # longer than the lease: nobody lost it
    run.chat("login")
    assert not [e for e in events(run) if e.stage in ("prefill-0", "decode-0") and e.state == "restarting"]


@pytest.mark.parametrize("stage", ["nodes", "keys", "services", "workers", "frontend", "ready", "warm", "serve"])
def test_scancel_at_each_stage(launcher: Launcher, cluster: Cluster, stage: str) -> None:
    sets = ["warmup.requests={enabled: true, timeout: 60}"] if stage == "warm" else []
    run = launcher.start(launcher.write(SPREAD), sets=sets, wait=None)
    wait_event(run, 0, stage, "started")
    since = time.time()
    cluster.cancel(run.job)
    ended(f"11 scancel at stage {stage}", run, since, state="CANCELLED", said="ended by SIGTERM", noticed="cancelled")


def test_a_port_that_is_taken(launcher: Launcher, cluster: Cluster) -> None:
    server = cluster.popen([sys.executable, "-m", "http.server", "8000"], "n001", cwd="/", stdout=PIPE, stderr=PIPE)
    wait_until(lambda: any(one.port == 8000 for one in cluster.listening("n001")), 10, "the port")
    run = launcher.start(launcher.write(SHARED), sets=["frontend.port=8000"], wait=None)
    since = wait_event(run, 0, "nodes", "failed").time
    server.kill()
    server.communicate()
    ended("15 a port taken by someone else", run, since, status="1", said="is taken on n001")


def test_a_model_folder_missing_on_one_node(launcher: Launcher, cluster: Cluster) -> None:
    model = Path(json.loads(SPREAD)["model"]["path"])
    for node in ("n001", "n002"):
        cluster.run(f"cp -r {model} /tmp/the-model", node, cwd="/", check=True)
    run = launcher.start(launcher.write(small(prefill=(1, 8), decode=(2, 8))), sets=["model.path=/tmp/the-model"],
                         wait=None)  # fmt: skip
    since = wait_event(run, 0, "*", "failed", timeout=40).time
    log = run.path / "logs/decode-1-0.log"
    died = log.stat().st_mtime
    ended("16 the model folder missing on one node", run, min(since, died), said=f"on n003; its log: {log}")
    assert "/tmp/the-model" in log.read_text()
    assert "/tmp/the-model" in run.output, "the log's last lines are not in the job's output"


def test_two_submits_of_one_name_at_once(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(SHARED)
    env = {"SGL_LAUNCH_SITE": str(launcher.folder / "site.yaml")}
    (launcher.folder / "site.yaml").write_text("runs: runs\n")
    words = [str(SGL_LAUNCH), "submit", config, "--wait", "ready", "--timeout", "60"]
    both = [cluster.popen(words, cwd=launcher.folder, env=env, stdout=PIPE, stderr=PIPE) for _ in range(2)]
    out = [one.communicate(timeout=90) for one in both]
    assert [one.returncode for one in both] == [0, 0], out
    runs = [Run(launcher, Path(re.search(r"job (\d+), (\S+)", text)[2])) for text, _ in out]  # type: ignore[index]
    assert runs[0].url != runs[1].url
    for run in runs:
        run.chat("login")
    since = time.time()
    cluster.cancel(runs[0].job)
    assert cluster.wait_job(runs[0].job, 15) == "CANCELLED"
    clean = time.time() - since
    runs[1].chat("login")  # the other one has lost nothing
    cluster.cancel(runs[1].job)
    assert cluster.wait_job(runs[1].job, 15) == "CANCELLED"
    left = cluster.left_over(timeout=2)
    table.add("17 two submits of one name at once", None, clean, "on", sum(map(len, left.values())), "two folders")


def test_submit_killed_before_sbatch(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(SHARED)
    fake = launcher.folder / "bin"
    fake.mkdir()
    (fake / "sbatch").write_text("#!/bin/sh\ntouch asked; exec sleep 60\n")
    (fake / "sbatch").chmod(0o755)
    env = {"SGL_LAUNCH_SITE": "/dev/null", "PATH": f"{fake}:{os.environ['PATH']}"}
    submit = cluster.popen([str(SGL_LAUNCH), "submit", config], cwd=launcher.folder, env=env, stdout=PIPE, stderr=PIPE)
    wait_until((launcher.folder / "asked").exists, 10, "the script to be handed to sbatch")
    since = time.time()
    os.killpg(submit.pid, signal.SIGKILL)
    submit.communicate()
    # sbatch is in a session of its own: it is not cut short by a Ctrl-C of its user
    cluster.kill_processes("login", [p for p in cluster.processes("login") if p.argv == ("sleep", "60")])
    assert cluster.unfinished_jobs() == []
    assert launcher("list").stdout == ""
    run = launcher.start(config)  # and the next one goes its way
    run.chat("login")
    assert launcher("cancel", str(run.job)).returncode == 0
    left = cluster.left_over(timeout=1)
    assert [p.name for p in run.path.parent.iterdir() if p.is_dir()] == [run.path.name]
    table.add("18 submit killed between rendering and sbatch", None, 0, "-", sum(map(len, left.values())),
              f"no job, no run; the next one ready after {run.event_time('ready', 'done') - since:.1f} s")  # fmt: skip


def test_a_job_id_that_comes_again(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(SHARED)
    first = launcher.start(config)
    assert launcher("cancel", str(first.job)).returncode == 0
    # the folder of a job with the next number, from before the cluster was set up anew
    old = first.path.with_name(f"small-{first.job + 1}")
    first.path.rename(old)
    old.joinpath("endpoint.json").write_text('{"url": "http://nowhere:1", "model": "old"}')
    old.joinpath("secrets").mkdir()
    begin = time.time()
    run = launcher.start(config)
    assert run.path == old
    assert "nowhere" not in run.url
    run.chat("login")
    assert min(e.time for e in events(run)) >= begin
    (before,) = old.joinpath("attempts").iterdir()
    assert before.name.startswith("before-")
    assert '"stage": "stop"' in before.joinpath("events.jsonl").read_text()
    assert before.joinpath("logs/prefill-0-0.log").exists()
    since = time.time()
    assert launcher("cancel", str(run.job)).returncode == 0
    ended("19 a job id reused by a reset cluster", run, since, state="CANCELLED", noticed="cancelled",
          note="the old files in attempts/before-<date>")  # fmt: skip
