"""Drills with nodes and queues: a node without slurmd or network, requeue, preemption, drain."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from subprocess import PIPE

from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.deploy import MODEL, Launcher, Run, small

from . import table
from .drill import Event, ended, events, exit_status, wait_event

SPREAD = small(prefill=(1, 8), decode=(2, 8))  # n001; n002; n003
SHARED = small(prefill=(1, 1), decode=(1, 1))
LEASE = "env={ETCD_LEASE_TTL: 5}"
STREAM = Path(__file__).with_name("stream.py")


def attempt(run: Run, number: int) -> list[Event]:
    """Events of an attempt that is over."""
    file = run.path / "attempts" / str(number) / "events.jsonl"
    return [Event(**json.loads(line)) for line in file.read_text().splitlines()]


def again(run: Run, since: float, timeout: float = 90) -> float:
    """Wait until a later attempt of the job serves; returns when."""
    wait_until((run.path / "attempts").exists, timeout, f"another attempt\n{run.output}")
    at = wait_event(run, since, "ready", "done", timeout=timeout).time
    run.chat("login")
    return at


def cancel(run: Run) -> int:
    assert run.launcher("cancel", str(run.job)).returncode == 0
    return sum(map(len, run.launcher.cluster.left_over(timeout=5).values()))


def test_a_node_s_network_cut(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(SPREAD), sets=[LEASE], sbatch=[])
    wait_event(run, 0, "serve", "started")
    time.sleep(1.5)  # the monitor has seen all
    since = time.time()
    cluster.cut("n003")
    lost = wait_event(run, since, "decode-1", "lost", timeout=20)
    run.chat("login")  # the others go on
    at = again(run, since)
    assert "n003" not in (run.path / "hosts").read_text()
    cluster.join("n003")  # what went on there is ended as soon as Slurm reaches the node again
    joined = time.time()
    wait_until(lambda: not cluster.processes("n003"), 40, "the end of the processes on the cut node")
    clean = time.time() - joined
    left = cancel(run)
    table.add("9 a node's network cut (lease of 5 s)", lost.time - since, clean, "on", left,
              f"the others answer; Slurm requeues: in service after {at - since:.1f} s")  # fmt: skip


def test_a_node_s_slurmd_gone(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(SPREAD), sets=[LEASE])
    since = time.time()
    cluster.slurmd_kill("n003")
    run.chat("login")  # nothing is lost but Slurm's hand on the node
    wait_until((run.path / "attempts").exists, 60, "another attempt")
    noticed = next(e.time for e in attempt(run, 0) if e.state in ("failed", "cancelled", "restarting"))
    wait_until(lambda: not cluster.processes("n003"), 30, "the end of the processes on n003")
    clean = time.time() - since
    at = again(run, since)
    left = cancel(run)
    table.add("8 a node's slurmd gone", noticed - since, clean, "on", left,
              f"Slurm requeues: in service after {at - since:.1f} s")  # fmt: skip


def test_requeue_and_preemption(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(SHARED), sbatch=["--nodelist=n001", "--exclusive"])
    for drill in ("13a requeued by the administrator", "13b preempted"):
        since = time.time()
        if "preempted" in drill:
            urgent = cluster.submit("sleep 5", "--partition=urgent", "--nodelist=n001", "--exclusive", cwd="/")
        else:
            urgent = 0
            cluster.run(["scontrol", "requeue", str(run.job)], check=True)
        noticed = wait_event(run, since, "*", "cancelled").time
        wait_event(run, since, "stop", "done")
        clean = time.time()
        wait_until(lambda: not run.path.joinpath("secrets").exists(), 1, "the keys to be gone")
        at = wait_event(run, clean, "ready", "done", timeout=90).time
        run.chat("login")
        assert not urgent or cluster.job_state(urgent) == "COMPLETED"
        number = 1 if urgent else 0
        assert attempt(run, number)[-1].detail == "exit status 143"
        assert (run.path / f"attempts/{number}/logs/decode-0-0.log").exists()
        table.add(drill, noticed - since, clean - since, "on", 0,
                  f"attempt {number + 1} in service after {at - since:.1f} s")  # fmt: skip
    assert cancel(run) == 0


def test_drain_before_walltime(launcher: Launcher, cluster: Cluster) -> None:
    """Slurm sends SIGUSR2 before the limit: a stream that runs is finished, a new request refused."""
    config = launcher.write(SHARED)
    run = launcher.start(config, sets=["slurm.signal=B:USR2@50", 'slurm.time="00:01:00"',
                                       "mocker={speedup-ratio: 0.1}"])  # fmt: skip
    stream, url = None, run.url
    while not any(e.state == "drained" for e in events(run)):
        if stream is None or stream.poll() is not None:
            stream = cluster.popen([sys.executable, str(STREAM), url, MODEL, "1500"], stdout=PIPE, stderr=PIPE)
        time.sleep(0.1)
    since = wait_event(run, 0, "serve", "drained").time
    refused = cluster.run([sys.executable, str(STREAM), url, MODEL, "4"])
    assert stream is not None
    out, err = stream.communicate(timeout=60)
    finished = time.time()
    assert stream.returncode == 0, (out, err, run.output)
    assert json.loads(out)["finish"] in ("stop", "length"), out
    assert json.loads(out)["tokens"] >= 1400, out
    assert refused.returncode != 0, refused.stdout
    ended("Drain: SIGUSR2 with a stream in flight", run, since, state="COMPLETED", status="0", noticed="drained",
          limit=60, said="drained", note=f"the stream ended whole after {finished - since:.1f} s")  # fmt: skip
    assert exit_status(run) == "0"
    assert "drained" in run.launcher("status", str(run.job)).stdout
