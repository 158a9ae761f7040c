"""Drills with nodes and queues: a node without slurmd or network, requeue, preemption, drain, walltime.

Nearly all their time is waiting for Slurm. So each has a cluster of its own, and they run in the background
(conftest.py) from the first test of this folder on; the test here waits for its drill's end.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.deploy import MODEL, Launcher, Run, small

from . import table
from .drill import Event, ended, events, everything, exit_status, gone, wait_event

SPREAD = small(prefill=(1, 8), decode=(2, 8))  # n001; n002; n003
SHARED = small(prefill=(1, 1), decode=(1, 1))
LEASE = "env={ETCD_LEASE_TTL: 5}"
STREAM = Path(__file__).with_name("stream.py")


def attempt(run: Run, number: int) -> list[Event]:
    """Events of an attempt that is over; the next one moves them there as it begins."""
    file = run.path / "attempts" / str(number) / "events.jsonl"
    wait_until(file.exists, 60, f"the events of attempt {number}\n{run.output}")
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


def a_node_s_network_cut(launcher: Launcher, cluster: Cluster) -> None:
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


def spare_nodes(launcher: Launcher, cluster: Cluster) -> None:
    """A node that is dead when the job starts is left out; one that dies while serving is replaced."""
    config = launcher.write(small(prefill=(1, 8), decode=(2, 8)))  # three nodes, and two more
    since = time.time()
    cluster.cut("n002")
    run = launcher.start(config, sets=["spare_nodes=2", LEASE], wait=None)
    out = wait_event(run, since, "nodes", "left-out", timeout=40)
    ready = wait_event(run, since, "serve", "started", timeout=60).time
    assert out.detail == "n002"
    hosts = [line.split()[1] for line in (run.path / "hosts").read_text().splitlines()]
    assert hosts == ["n001", "n003", "n004", "n005"]
    run.chat("login")
    table.add("Spare: a node dead at the start", out.time - since, None, "on", 0,
              f"left out; in service after {ready - since:.1f} s")  # fmt: skip
    time.sleep(1.5)
    since = time.time()
    cluster.cut("n004")
    lost = wait_event(run, since, "decode-1", "lost", timeout=20)
    run.chat("login")
    moved = wait_event(run, since, "decode-1", "moved", timeout=60)
    assert moved.detail == "from n004 to n005"
    back = wait_event(run, moved.time, "decode-1", "ready", timeout=40)
    run.chat("login")
    rows = {rank["group"]: rank["host"] for rank in run.status()["ranks"]}
    assert rows["decode-1"] == "n005"
    cluster.join("n002", "n004")
    joined = time.time()
    wait_until(lambda: not cluster.processes("n004"), 40, "the end of the processes on the cut node")
    clean = time.time() - joined
    run.chat("login")
    assert not (run.path / "attempts").exists()
    left = cancel(run)
    table.add("Spare: a node cut while serving (lease of 5 s)", lost.time - since, clean, "on", left,
              f"group moved, in service after {back.time - since:.1f} s")  # fmt: skip


def a_node_s_slurmd_gone(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(SPREAD), sets=[LEASE])
    since = time.time()
    cluster.slurmd_kill("n003")
    run.chat("login")  # nothing is lost but Slurm's hand on the node
    noticed = next(e.time for e in attempt(run, 0) if e.state in ("failed", "cancelled", "restarting"))
    wait_until(lambda: not cluster.processes("n003"), 30, "the end of the processes on n003")
    clean = time.time() - since
    at = again(run, since)
    left = cancel(run)
    table.add("8 a node's slurmd gone", noticed - since, clean, "on", left,
              f"Slurm requeues: in service after {at - since:.1f} s")  # fmt: skip


def requeue_and_preemption(launcher: Launcher, cluster: Cluster) -> None:
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


def requeue_by_policy(launcher: Launcher, cluster: Cluster) -> None:
    """on_failure.workers: requeue: without the node that failed, and no more often than allowed."""
    config = launcher.write(small(prefill=(1, 8), decode=(1, 8)))
    run = launcher.start(config, sets=["on_failure={workers: requeue, max_requeues: 1}"])
    wait_event(run, 0, "serve", "started")
    (rank, *_) = run.rank_processes("n002", "decode-0")
    since = time.time()
    cluster.kill_processes("n002", [rank])
    noticed = wait_event(run, since, "*", "failed").time
    clean = wait_event(run, since, "stop", "done").time
    at = again(run, clean)
    hosts = (run.path / "hosts").read_text()
    assert "n002" not in hosts, hosts
    assert attempt(run, 0)[-1].state in ("requeued", "done")
    table.add("on_failure.workers: requeue", noticed - since, clean - since, "on", 0,
              f"another attempt without n002, in service after {at - since:.1f} s")  # fmt: skip
    wait_event(run, clean, "serve", "started")
    (node,) = [line.split()[1] for line in hosts.splitlines() if line.startswith("1 ")]
    (rank, *_) = run.rank_processes(node, "decode-0")
    since = time.time()
    cluster.kill_processes(node, [rank])
    ended("on_failure.workers: requeue, for the last time", run, since, status="137",
          said=f"decode-0 (rank 0) ended with exit status 137 on {node}")  # fmt: skip


def drain_before_walltime(launcher: Launcher, cluster: Cluster) -> None:
    """Slurm sends SIGUSR2 before the limit: a stream that runs is finished, a new request refused."""
    config = launcher.write(SHARED)
    run = launcher.start(config, sets=["slurm.signal=B:USR2@50", 'slurm.time="00:01:00"',
                                       "mocker={speedup-ratio: 0.1}"])  # fmt: skip
    stream, url, key = None, run.url, run.key
    while not any(e.state == "drained" for e in events(run)):
        if stream is None or stream.poll() is not None:
            stream = cluster.popen([sys.executable, str(STREAM), url, MODEL, "300"], stdout=PIPE, stderr=PIPE,
                                   env={"OPENAI_API_KEY": key})  # fmt: skip
        time.sleep(0.1)
    since = wait_event(run, 0, "serve", "drained").time
    time.sleep(1)  # TERM is on its way to the frontend
    refused = cluster.run([sys.executable, str(STREAM), url, MODEL, "4"])
    assert stream is not None
    out, err = stream.communicate(timeout=60)
    finished = time.time()
    assert stream.returncode == 0, (out, err, run.output)
    assert json.loads(out)["finish"] in ("stop", "length"), out
    assert json.loads(out)["tokens"] >= 290, out
    assert refused.returncode != 0, refused.stdout
    ended("Drain: SIGUSR2 with a stream in flight", run, since, state="COMPLETED", status="0", noticed="drained",
          limit=60, said="drained", note=f"the stream ended whole after {finished - since:.1f} s")  # fmt: skip
    assert exit_status(run) == "0"
    assert "drained" in run.launcher("status", str(run.job)).stdout


def walltime(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(SHARED), sets=['slurm.time="00:01:00"'])
    since = wait_event(run, 0, "*", "cancelled", timeout=120).time
    ended("12 walltime reached", run, since, state="TIMEOUT", said="SIGTERM", noticed="cancelled")


def slurmctld_restarted(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(SPREAD))
    wait_event(run, 0, "serve", "started")
    cluster.wait_saved(timeout=60)
    since = time.time()
    cluster.ctld_kill()
    run.chat("login")
    # a worker that dies meanwhile comes back too, as soon as srun can start steps again
    old = everything(cluster, "n002")
    cluster.kill_processes("n002", list(run.rank_processes("n002", "decode-0"))[:1])
    noticed = wait_event(run, since, "decode-0", "restarting")
    time.sleep(2)
    cluster.ctld_start()
    back = wait_event(run, since, "decode-0", "ready", timeout=60)
    left = gone(cluster, old)
    run.chat("login")
    assert cluster.job_state(run.job) == "RUNNING"
    assert left == 0
    table.add("10 slurmctld restarted, a worker killed meanwhile", noticed.time - since, None, "on", left,
              f"restarted, in service after {back.time - since:.1f} s")  # fmt: skip


def a_worker_that_comes_back_and_hangs(launcher: Launcher, cluster: Cluster) -> None:
    """Started again, it never registers (its process is halted): it is ended and started once more."""
    run = launcher.start(launcher.write(SHARED), sets=["timeouts.ready=12"], sbatch=["--nodelist=n001"])
    wait_event(run, 0, "serve", "started")
    old = {p.pid for p in run.rank_processes("n001", "decode-0")}
    since = time.time()
    cluster.kill_processes("n001", run.rank_processes("n001", "decode-0")[:1])
    wait_event(run, since, "decode-0", "restarting")

    def fresh() -> list[int]:
        return [p.pid for p in run.rank_processes("n001", "decode-0") if p.pid not in old]

    wait_until(fresh, 20, "the new rank")
    cluster.run(["kill", "-STOP", *map(str, fresh())], "n001", cwd="/", check=True)
    halted = time.time()
    lost = wait_event(run, halted, "decode-0", "lost", timeout=30)
    assert "has not registered" in lost.detail
    back = wait_event(run, lost.time, "decode-0", "ready", timeout=60)
    run.chat("login")
    assert run.status()["ranks"][-1]["restarts"] == 2
    left = cancel(run)
    table.add("A restarted worker that hangs (limit of 12 s)", lost.time - halted, None, "on", left,
              f"started once more, in service after {back.time - lost.time:.1f} s")  # fmt: skip


DRILLS: dict[str, Callable[[Launcher, Cluster], None]] = {
    one.__name__: one
    for one in (
        walltime,
        slurmctld_restarted,
        a_worker_that_comes_back_and_hangs,
        requeue_and_preemption,
        a_node_s_network_cut,
        a_node_s_slurmd_gone,
        requeue_by_policy,
        spare_nodes,
        drain_before_walltime,
    )
}


@pytest.mark.parametrize("drill", DRILLS)
def test_drill(drill: str, background: Callable[[str], Future[None]]) -> None:
    background(drill).result()
