"""Fixtures of the tests on a real Slurm cluster. Set SLURM_TESTS=require where they must not be
skipped."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .cluster import Cluster, live_clusters, why_not


def _need_slurm() -> None:
    reason = why_not()
    if reason is None:
        return
    if os.environ.get("SLURM_TESTS") == "require":
        pytest.fail(f"SLURM_TESTS=require, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Six nodes, n001 to n006, with eight fake GPUs each; one cluster for all tests of the
    session."""
    _need_slurm()
    with Cluster.up(nodes=6, gpus=8) as made:
        yield made


@pytest.fixture(scope="session")
def cluster_of() -> Iterator[Callable[..., Cluster]]:
    """Makes clusters of other sizes and names: cluster_of(names=["n[1-2]", "gpu-a[7,9]"]),
    arguments as of Cluster.up.

    Asked twice with the same arguments it gives the same cluster. They end with the session.
    """
    _need_slurm()
    made: dict[str, Cluster] = {}

    def make(**arguments: Any) -> Cluster:
        key = repr(sorted(arguments.items()))
        if key not in made or not made[key].is_up:
            made[key] = Cluster.up(**arguments)
        return made[key]

    yield make
    for one in made.values():
        one.down()


@pytest.fixture
def folder(cluster: Cluster) -> Iterator[Path]:
    """An empty folder that is the same on every node of `cluster` (tmp_path is not: nodes have a
    /tmp of their own)."""
    made = Path(tempfile.mkdtemp(dir=cluster.share))
    yield made
    shutil.rmtree(made)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test: faults are undone, jobs that are left are cancelled, and a process that is
    left is a failure.

    That holds for every node of every cluster, login included: a client that a test started there
    must have ended.
    """
    yield
    left = []
    for one in live_clusters():
        for node, processes in one.reset().items():
            left += [f"{node}: {process}" for process in processes]
    if left:
        pytest.fail("left after all jobs had ended:\n  " + "\n  ".join(left), pytrace=False)
