"""Fixtures of the drills; their figures are printed as one table at the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import _need_slurm
from tests.slurm.deploy import Launcher, shared_folder

from . import table

HERE = Path(__file__).parent
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


# What every run shows of contact with real Slurm, NATS, etcd and Dynamo; `make drills` runs all of this folder.
DOZEN = (
    "test_rank_0_killed", "test_rank_1_killed", "test_services_that_come_back", "test_the_run_folder_s_disk_full",
    "test_scancel_at_each_stage[keys]", "test_scancel_at_each_stage[serve]", "test_the_supervisor_is_killed[workers]",
    "test_no_sgl_launch_on_the_first_node", "test_processes_of_the_engine_die", "test_one_of_two_frontends_dies",
    "test_two_jobs_at_once_on_one_node", "test_nobody_gets_in_on_slurm[dsr1.yaml]", "test_etcd_that_hangs_ends_the_job",
    "test_drill[a_node_s_network_cut]", "test_drill[requeue_by_policy]", "test_drill[drain_before_walltime]",
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A dozen drills, unless all are asked for or some are named. What runs in the background is waited for after the
    rest of this folder."""
    if not config.getoption("--all-drills") and not any("::" in word or ".py" in word for word in config.args):
        items[:] = [item for item in items if item.path.parent != HERE or item.name.startswith(DOZEN)]
    ours = [n for n, item in enumerate(items) if item.path.parent == HERE]
    ordered = sorted((items[n] for n in ours), key=lambda item: item.path.name == "test_nodes.py")
    for n, item in zip(ours, ordered, strict=True):
        items[n] = item


def _cluster(nodes: int) -> Cluster:
    """KillWait is Slurm's own 30 s, so that what ends in time has ended by itself."""
    return Cluster.up(nodes=nodes, gpus=8, kill_wait=30, slurmd_timeout=3, extra_conf=EXTRA)


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """Six nodes."""
    _need_slurm()
    with _cluster(6) as made:
        yield made


@pytest.fixture(scope="package", autouse=True)
def background(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Future[None]]]:
    """The drills of test_nodes.py that were asked for, three at a time, each on its own cluster. Asked for
    a drill a second time (its test is tried again), begins it anew."""
    from .test_nodes import DRILLS

    params = (getattr(item, "callspec", None) for item in request.session.items if item.path.name == "test_nodes.py")
    asked = [param.params["drill"] for param in params if param]
    if asked:
        _need_slurm()
    with ThreadPoolExecutor(3) as pool:
        begun = {name: pool.submit(_on_its_own, DRILLS[name]) for name in asked}
        yield lambda name: begun.pop(name, None) or pool.submit(_on_its_own, DRILLS[name])
        pool.shutdown(cancel_futures=True)


def _on_its_own(drill: Callable[[Launcher, Cluster], None]) -> None:
    with _cluster(5) as made, shared_folder(made) as folder:
        drill(Launcher(made, folder), made)
        made.mend()
        made.cancel(*made.unfinished_jobs())
        left = made.left_over(timeout=40)  # on a node that was cut, what is left ends when Slurm reaches it
        assert left == {}, left


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
