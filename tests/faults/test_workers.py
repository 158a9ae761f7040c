"""Drills that a deployment survives: a prefill worker and two decode workers of two nodes each. The
tests share it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, wait_until
from tests.slurm.deploy import Launcher, Run, shared_folder, small

from .drill import events, everything, restarted, wait_event

PREFILL, DECODE_0, DECODE_1 = ("n001",), ("n002", "n003"), ("n004", "n005")


@pytest.fixture(scope="module")
def run(cluster: Cluster) -> Iterator[Run]:
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        config = launcher.write(small(prefill=(1, 8), decode=(2, 16)))
        yield launcher.start(config, sets=["warmup.requests={enabled: true, prompt_tokens: [64], "
                                           "concurrency: [2], output_tokens: [8], timeout: 30}",
                                           "on_failure.max_restarts=4"])  # fmt: skip
        left = cluster.reset()
    assert left == {}, left


def strike(run: Run, node: str, group: str, signal: str, nodes: tuple[str, ...]) -> tuple[float, list]:  # type: ignore[type-arg]
    """Send a signal to a group's rank on a node; returns when, and all of the group's processes."""
    old = everything(run.launcher.cluster, *nodes)
    rank = run.rank_processes(node, group)[0]
    since = time.time()
    run.launcher.cluster.run(["kill", f"-{signal}", str(rank.pid)], node, cwd="/", check=True)
    return since, old


def test_rank_0_killed(run: Run) -> None:
    wait_event(run, 0, "serve", "started")
    since, old = strike(run, "n002", "decode-0", "KILL", DECODE_0)
    # it is taken off etcd's list, unless its engine had the time to do so itself; the other decode worker answers all
    new = ("deregistered", "registered")
    wait_until(lambda: any(e.state in new for e in events(run, since) if e.stage == "decode-0"), 10, "a new list")
    assert run.chat("login")["decode"] in run.workers("decode")
    restarted("1 a worker's rank 0 killed", run, "decode-0", old, since, "exit status")
    warm = wait_event(run, since, "decode-0", "warm")
    assert warm.detail == "warm"


def test_rank_1_killed(run: Run) -> None:
    since, old = strike(run, "n005", "decode-1", "KILL", DECODE_1)
    restarted("2 a rank above 0 killed", run, "decode-1", old, since, "exit status")


def test_a_worker_that_exits_0(run: Run) -> None:
    # the mocker's own process: TERM makes it end with status 0, and its rank with it
    old = everything(run.launcher.cluster, *DECODE_0)
    (mocker,) = [p for _, p in everything(run.launcher.cluster, "n002") if "dynamo.mocker" in p.argv]
    since = time.time()
    run.launcher.cluster.run(["kill", "-TERM", str(mocker.pid)], "n002", cwd="/", check=True)
    restarted("3 a worker that exits 0 by itself", run, "decode-0", old, since, "exit status")
