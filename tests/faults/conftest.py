"""Fixtures of the drills; their figures are printed as one table at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import _need_slurm
from tests.slurm.deploy import Launcher, shared_folder

from . import table

# A lost node is noticed after 11 to 15 s. Jobs of `urgent` push others out; those go back into the queue.
EXTRA = """\
MessageTimeout=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if table.ROWS:
        terminalreporter.section("drills (seconds)")
        for line in table.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Six nodes. KillWait is Slurm's own 30 s, so that what ends in time has ended by itself."""
    _need_slurm()
    with Cluster.up(nodes=6, gpus=8, kill_wait=30, slurmd_timeout=3, extra_conf=EXTRA) as made:
        yield made


@pytest.fixture
def folder(cluster: Cluster) -> Iterator[Path]:
    """An empty folder that is the same on every node."""
    with shared_folder(cluster) as made:
        yield made


@pytest.fixture
def launcher(cluster: Cluster, folder: Path) -> Iterator[Launcher]:
    """sgl-launch on the login node; after the test no process may be left on any node."""
    yield Launcher(cluster, folder)
    left = cluster.reset()
    assert left == {}, left
