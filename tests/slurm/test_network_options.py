"""Nodes that lie together in the network: jobs really submitted with --switches and --segment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .cluster import LOGIN, Cluster
from .deploy import Launcher, Run, check_nothing_left, shared_folder, small

TREE = """\
SwitchName=left Nodes=n[001-003]
SwitchName=right Nodes=n[004-006]
SwitchName=top Switches=left,right
"""
BLOCKS = """\
BlockName=left Nodes=n[001-003]
BlockName=right Nodes=n[004-006]
BlockSizes=3
"""


def config(**slurm: Any) -> str:
    """A prefill worker of one node, a decode worker of two, with further options of sbatch."""
    made = json.loads(small(prefill=(1, 8), decode=(1, 16)))
    made["slurm"].update(slurm)
    return json.dumps(made)


def finish(run: Run) -> None:
    run.chat(LOGIN)
    assert run.launcher("cancel", str(run.job)).returncode == 0
    check_nothing_left(run.launcher.cluster)


def test_switches(cluster_of: Callable[..., Cluster]) -> None:
    cluster = cluster_of(extra_conf="TopologyPlugin=topology/tree", topology_conf=TREE)
    # one of the left switch's nodes is taken, so that three are free behind the right one alone
    taken = cluster.submit("sleep 600", "-w", "n002", "--exclusive")
    cluster.wait_state(taken, "RUNNING", 20)
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        run = launcher.start(launcher.write(config(switches="1@00:05:00", exclusive=True)))
        job = cluster.job(run.job)
        assert (job["Switches"], job["NodeList"]) == ("1@00:05:00", "n[004-006]")
        assert {line["host"] for line in run.ranks().values()} == {"n004", "n005", "n006"}
        cluster.cancel(taken)
        assert cluster.wait_job(taken, 20) == "CANCELLED"
        finish(run)


def test_segment(cluster_of: Callable[..., Cluster], cluster: Cluster) -> None:
    """Needs Slurm's plugin topology/block and an sbatch that knows --segment: Debian's Slurm 22.05 has neither.
    There the job is refused, with sbatch's own words, and the rest is skipped."""
    text = config(segment=3, exclusive=True)
    if "--segment" not in cluster.run(["sbatch", "--help"]).stdout:
        with shared_folder(cluster) as folder:
            launcher = Launcher(cluster, folder)
            done = launcher("submit", launcher.write(text))
        assert done.returncode == 1
        assert "unrecognized option '--segment=3'" in done.stderr
        assert cluster.unfinished_jobs() == []
        version = cluster.run(["sbatch", "--version"]).stdout.strip()
        pytest.skip(f"{version} has neither --segment nor topology/block")
    blocks = cluster_of(extra_conf="TopologyPlugin=topology/block", topology_conf=BLOCKS)
    taken = blocks.submit("sleep 600", "-w", "n002", "--exclusive")
    blocks.wait_state(taken, "RUNNING", 20)
    with shared_folder(blocks) as folder:
        launcher = Launcher(blocks, folder)
        run = launcher.start(launcher.write(text))
        job = blocks.job(run.job)
        assert (job["SegmentSize"], job["NodeList"]) == ("3", "n[004-006]")
        blocks.cancel(taken)
        assert blocks.wait_job(taken, 20) == "CANCELLED"
        finish(run)
