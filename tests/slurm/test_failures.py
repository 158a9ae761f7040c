"""Whatever ends a job: it ends soon, says what failed and where its log is, and leaves nothing."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from .cluster import Cluster, wait_until
from .deploy import Launcher, Run, check_nothing_left, small


@pytest.fixture
def launcher(cluster: Cluster, folder: Path) -> Launcher:
    return Launcher(cluster, folder)


def check_cancelled(run: Run, cluster: Cluster) -> None:
    begin = time.monotonic()
    cluster.cancel(run.job)
    assert cluster.wait_job(run.job, 10) == "CANCELLED"
    print(f"scancel to the job's end: {time.monotonic() - begin:.1f} s")
    check_nothing_left(cluster)


@pytest.mark.parametrize("stage", ["nodes", "services", "ready"])
def test_scancel_at_any_stage(launcher: Launcher, cluster: Cluster, stage: str) -> None:
    run = launcher.start(launcher.write(small(prefill=(1, 8), decode=(1, 16))), wait=None)
    run.wait_event(stage, "started")
    check_cancelled(run, cluster)
    assert run.output.splitlines()[-1].endswith("stopped, exit status 143: ended by SIGTERM")
    status = run.status()
    assert (status["state"], status["stage"]) == ("CANCELLED", "stopped")
    assert "cancelled: SIGTERM" in status["failure"]


def test_a_job_that_waits_is_shown_and_cancelled(launcher: Launcher, cluster: Cluster) -> None:
    run = launcher.start(launcher.write(small()), wait=None, sbatch=["--begin=now+1hour"])
    status = run.status()
    assert (status["state"], status["reason"], status["stage"]) == ("PENDING", "BeginTime", "queued")
    waited = launcher("wait", str(run.job), "--timeout", "0.5")
    assert waited.returncode == 1
    assert "BeginTime" in waited.stderr
    cancelled = launcher("cancel", str(run.job))
    assert cancelled.returncode == 0
    assert "CANCELLED" in cancelled.stdout
    assert cluster.job_state(run.job) == "CANCELLED"
    assert not run.path.joinpath("plan.json").exists()
    waited = launcher("wait", str(run.job), "--timeout", "5")
    assert waited.returncode == 1
    assert "has ended, CANCELLED" in waited.stderr


def failed(run: Run, timeout: float) -> str:
    """Wait for a job's end by itself; its state must be FAILED. Returns its `FAILED:` line."""
    cluster = run.launcher.cluster
    assert cluster.wait_job(run.job, timeout) == "FAILED", run.output
    assert cluster.job(run.job)["ExitCode"] not in ("0:0", ""), run.output
    (line,) = [line for line in run.output.splitlines() if "FAILED: " in line]
    return line.split("FAILED: ")[1]


def test_a_worker_that_dies_at_start_ends_the_job(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(small(prefill=(1, 8), decode=(1, 8)))
    run = launcher.start(config, sets=["model.path=/no/such/model"], wait=None)
    line = failed(run, timeout=60)
    said = re.match(r"(\S+)-0 \(rank 0\) ended with exit status (\d+) on (\S+); its log: (\S+)", line)
    assert said, line
    assert (said[1], said[3]) in (("prefill", "n001"), ("decode", "n002"))
    assert said[2] != "0"
    log = Path(said[4])
    assert log == run.path / "logs" / f"{said[1]}-0-0.log"
    assert "/no/such/model" in log.read_text()
    assert "/no/such/model" in run.output, "the log's last lines are not in the job's output"
    took = run.event_time("stop", "done") - log.stat().st_mtime  # its last words
    print(f"a worker's death at its start to the job's end: {took:.1f} s")
    assert took < 15
    waited = launcher("wait", str(run.job), "--for", "ready")
    assert waited.returncode == 1
    assert line in waited.stderr
    assert line in run.status()["failure"]
    check_nothing_left(cluster)


def test_a_rank_above_0_that_dies_ends_the_job(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(small(prefill=(1, 8), decode=(1, 24)))
    run = launcher.start(config, sets=["on_failure.workers=stop"])
    run.chat("n001")
    (victim,) = run.rank_processes("n003", "decode-0")
    begin = time.time()
    cluster.kill_processes("n003", [victim])
    line = failed(run, timeout=30)
    wait_until(lambda: run.has("stop", "done"), 5, "the stop stage")
    noticed, ended = run.event_time("serve", "failed"), run.event_time("stop", "done")
    print(f"a rank's death to its notice: {noticed - begin:.1f} s, the end: {ended - begin:.1f} s")
    assert ended - begin < 15
    # decode-0 is on n002, n003 and n004
    log = run.path / "logs" / "decode-0-1.log"
    assert line == f"decode-0 (rank 1) ended with exit status 137 on n003; its log: {log}"
    assert log.read_text().startswith("rank: group=decode-0 rank=1 ")
    assert "is killed" not in run.output
    waited = launcher("wait", str(run.job), "--for", "done")
    assert waited.returncode == 1
    assert line in waited.stderr
    check_nothing_left(cluster)
