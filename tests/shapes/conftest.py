"""Fixtures: a test cluster, and sgl-launch on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.run import Launcher as LocalLauncher
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import _need_slurm
from tests.slurm.deploy import Launcher, reset_all, shared_folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Six nodes, n001 to n006, with eight fake GPUs each."""
    _need_slurm()
    with Cluster.up(nodes=6, gpus=8) as made:
        yield made


@pytest.fixture
def slurm(cluster: Cluster) -> Iterator[Launcher]:
    """sgl-launch on the login node, in an empty folder. A process that is left is a failure."""
    with shared_folder(cluster) as folder:
        yield Launcher(cluster, folder)
        if left := reset_all():
            pytest.fail("left after all jobs had ended:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalLauncher]:
    """sgl-launch in an empty folder of this machine. A process that is left is a failure."""
    made = LocalLauncher(tmp_path)
    yield made
    if left := made.kill_all():
        pytest.fail("left after the test:\n  " + "\n  ".join(map(str, left)), pytrace=False)
