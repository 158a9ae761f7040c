"""Drills of what stands between a worker and Slurm: the step's own daemon, and nodes for another try."""

from __future__ import annotations

import time

from tests.slurm.cluster import Cluster
from tests.slurm.deploy import Launcher, small

from . import table
from .drill import ended, everything, gone, wait_event


def test_a_step_s_slurmstepd_killed(launcher: Launcher, cluster: Cluster) -> None:
    """What it leaves is no step of Slurm's any more: the worker goes on, and when it ends srun does not say so."""
    run = launcher.start(launcher.write(small(prefill=(1, 8), decode=(1, 8))))
    wait_event(run, 0, "serve", "started")
    old = everything(cluster, "n002")
    (rank, *_) = run.rank_processes("n002", "decode-0")
    name = cluster.run(["cat", f"/proc/{rank.ppid}/comm"], "n002", cwd="/", check=True).stdout
    assert name == "slurmstepd\n"
    cluster.run(["kill", "-KILL", str(rank.ppid)], "n002", cwd="/", check=True)
    for _ in range(20):
        run.chat("login")
    since = time.time()
    (mocker,) = [p for _, p in everything(cluster, "n002") if "dynamo.mocker" in p.argv]
    cluster.run(["kill", "-KILL", str(mocker.pid)], "n002", cwd="/", check=True)
    noticed = wait_event(run, since, "decode-0", "lost", "restarting", timeout=40)
    left = gone(cluster, old)
    clean = time.time() - since
    back = wait_event(run, since, "decode-0", "ready", timeout=60)
    run.chat("login")
    table.add("A worker killed whose slurmstepd had been killed", noticed.time - since, clean, "on", left,
              f"20 of 20 requests answered between the two; in service after {back.time - since:.1f} s")  # fmt: skip
    assert left == 0
    assert noticed.time - since < 15  # its lease of 10 s
    assert run.launcher("cancel", str(run.job)).returncode == 0


def test_too_few_nodes_for_another_try(launcher: Launcher, cluster: Cluster) -> None:
    """All nodes are in the job: without the one that failed it would wait for ever."""
    config = launcher.write(small(prefill=(3, 8), decode=(3, 8)))
    run = launcher.start(config, sets=["on_failure={workers: requeue, max_requeues: 1}"])
    wait_event(run, 0, "serve", "started")
    (rank, *_) = run.rank_processes("n005", "decode-1")
    since = time.time()
    cluster.kill_processes("n005", [rank])
    ended("on_failure.workers: requeue, too few nodes left", run, since, status="137",
          said="decode-1 (rank 0) ended with exit status 137 on n005")  # fmt: skip
    assert "without n005, partition gpu has 5 usable nodes and the job needs 6: no further try" in run.output
