"""Handing a script to sbatch: by `submit` with its options, and by hand after `render`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cluster import Cluster
from .deploy import SGL_LAUNCH, Launcher, Run, check_nothing_left, small


@pytest.fixture
def launcher(cluster: Cluster, folder: Path) -> Launcher:
    return Launcher(cluster, folder)


def test_render_and_sbatch_work_as_well_as_submit(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(small(prefill=(1, 8), decode=(1, 16)))
    rendered = launcher("render", config)
    assert rendered.returncode == 0, rendered.stderr
    script = launcher.folder / "job.sh"
    script.write_text(rendered.stdout)
    path = f"{SGL_LAUNCH.parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    done = cluster.run(["sbatch", "--parsable", "job.sh"], cwd=launcher.folder, env={"PATH": path}, check=True)
    run = Run(launcher, launcher.folder / "runs" / f"small-{done.stdout.strip()}")
    run.wait_event("nodes", "started")
    ready = launcher("wait", str(run.job), "--timeout", "60")
    assert ready.returncode == 0, ready.stderr
    run.chat("n001")
    assert run.status()["endpoint"] == run.url
    assert run.path.joinpath("job.sh").read_text() == rendered.stdout
    cancelled = launcher("cancel", "small")
    assert cancelled.returncode == 0
    assert "CANCELLED" in cancelled.stdout
    check_nothing_left(cluster)


def test_a_job_that_sbatch_refuses(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(small())
    done = launcher("submit", config, "--set", "slurm.partition=nowhere")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("invalid partition specified: nowhere") == 1
    assert done.stderr.endswith("; your cluster has: gpu; look at slurm.partition\n")
    assert "Traceback" not in done.stderr
    runs = launcher.folder / "runs"
    assert (sorted(runs.iterdir()) if runs.exists() else []) == []
    assert cluster.unfinished_jobs() == []


def test_options_for_sbatch_pass(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(small())
    options = ["--nodelist=n005", "--hold", "--comment=it's here"]
    run = launcher.start(config, wait=None, sbatch=options)
    job = cluster.job(run.job)
    assert (job["ReqNodeList"], job["JobState"], job["NumNodes"]) == ("n005", "PENDING", "1-1")
    assert launcher("cancel", str(run.job)).returncode == 0
    wrong = launcher("submit", config, "--", "--no-such-option")
    assert wrong.returncode == 1
    assert "unrecognized option '--no-such-option'" in wrong.stderr


def test_parsable_prints_the_id_alone(launcher: Launcher) -> None:
    config = launcher.write(small())
    done = launcher("submit", config, "--parsable", "--", "--hold")
    assert done.returncode == 0, done.stderr
    run = Run(launcher, launcher.folder / "runs" / f"small-{done.stdout.strip()}")
    assert done.stdout == f"{run.job}\n"
    assert done.stderr == ""
    assert run.status()["state"] == "PENDING"
    assert launcher("cancel", str(run.job)).returncode == 0


def test_dry_run_submits_nothing(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(small())
    done = launcher("submit", config, "--dry-run", "--", "--nodelist=n005")
    assert done.returncode == 0, done.stderr
    *script, last = done.stdout.splitlines(keepends=True)
    assert "".join(script) == launcher("render", config).stdout
    assert last.startswith("# sbatch --parsable ")
    assert "--nodelist=n005" in last
    assert not launcher.folder.joinpath("runs").exists()
    assert cluster.unfinished_jobs() == []


def test_submit_runs_in_an_allocation_that_one_has(launcher: Launcher, cluster: Cluster) -> None:
    config = launcher.write(small(prefill=(1, 8), decode=(1, 8)))
    lines = [
        f"sgl-launch submit {config} --cluster here --wait ready --timeout 60 && sgl-launch chat small",
        f"sgl-launch submit {config} --cluster here",  # one runs already
        "sgl-launch cancel small && squeue --noheader --steps | grep -v interactive",
        f"sgl-launch submit {config} --cluster here --wait ready --timeout 60 && sgl-launch cancel small",
    ]
    salloc = ["salloc", "-N2", "--gpus-per-node=8", "bash", "-c", "; ".join(lines)]
    path = f"{SGL_LAUNCH.parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    done = cluster.run(salloc, cwd=launcher.folder, env={"PATH": path}, timeout=120)
    assert done.stdout.count("ready at http://10.") == 2, done.stderr
    assert done.stdout.count("ended: CANCELLED") == 2
    assert "runs in this allocation already" in done.stderr
    assert "queued" not in done.stderr  # nothing of the first is told of the second
    assert "small-" not in "".join(line for line in done.stdout.splitlines() if "n00" in line)
    check_nothing_left(cluster)
