"""status, attach, report and check on a real cluster, from its login node."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import Cluster, wait_until
from .deploy import REHEARSAL, ROOT, Launcher, Run, reset_all, shared_folder, small

TORCH = os.environ.get("SGL_LAUNCH_TORCH_PYTHON", "")


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    """As conftest.py's, but for the module: its tests share a deployment."""
    yield
    left = reset_all()
    if left:
        pytest.fail("left after all jobs had ended:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="module")
def dsr1(nothing_left: None, cluster: Cluster) -> Iterator[Run]:
    with shared_folder(cluster) as folder:
        run = Launcher(cluster, folder).start(f"{ROOT}/configs/dsr1.yaml", sets=REHEARSAL, wait="warm")
        yield run
        run.launcher("cancel", str(run.path))
        if kept := os.environ.get("KEEP_RUN"):
            shutil.copytree(run.path, kept, dirs_exist_ok=True)


def test_status_names_every_rank_with_health_and_lease(dsr1: Run) -> None:
    wait_until(lambda: dsr1.has("serve", "started"), 20, "serve")
    status = dsr1.status()
    assert (status["state"], status["stage"], status["missing"]) == ("RUNNING", "serve", [])
    assert status["security"] == "secured: etcd by certificate, NATS by password"
    assert status["time_left"]
    ranks = status["ranks"]
    assert [(r["group"], r["rank"], r["host"]) for r in ranks] == [
        ("prefill-0", 0, "n001"),
        ("prefill-0", 1, "n002"),
        *(("decode-0", rank, f"n{rank + 3:03}") for rank in range(4)),
    ]
    assert {r["state"] for r in ranks} == {"warm"}
    heads = [r for r in ranks if r["rank"] == 0]
    assert [r["health"] for r in heads] == ["ok", "ok"]
    assert all(r["registered"] and 0 < r["lease"] <= 30 for r in heads)
    assert {r["health"] for r in ranks if r["rank"]} == {"-"}
    assert re.fullmatch(rf"ssh -N -L 8000:{dsr1.url[7:-5]}:8000 \S+@\S+", status["tunnel"])


def test_status_fits_eighty_columns(dsr1: Run) -> None:
    shown = dsr1.launcher("status", str(dsr1.path)).stdout
    long = [line for line in shown.splitlines() if len(line) > 80 and not line.startswith("run folder")]
    assert long == []
    assert "\x1b" not in shown
    if kept := os.environ.get("KEEP_RUN"):
        Path(kept).mkdir(exist_ok=True)
        Path(kept, "status.json").write_text(json.dumps(dsr1.status()))


def test_a_source_that_does_not_answer_is_named(dsr1: Run) -> None:
    """Without the job's keys etcd cannot be asked: said, and no state is made up for it."""
    secrets, away = dsr1.path / "secrets", dsr1.path / "away"
    secrets.rename(away)
    try:
        status = dsr1.status()
    finally:
        away.rename(secrets)
    (said,) = status["missing"]
    assert said.startswith("etcd: the job's keys in ")
    assert "cannot be read" in said
    assert {r["registered"] for r in status["ranks"]} == {None}
    assert {r["state"] for r in status["ranks"]} == {"warm"}


def test_attach(dsr1: Run) -> None:
    printed = dsr1.launcher("attach", str(dsr1.path), "decode-0:2")
    line = f"srun --jobid={dsr1.job} --overlap --pty --nodelist=n005 --nodes=1 --ntasks=1 bash\n"
    assert printed.stdout == line
    inside = dsr1.launcher("attach", str(dsr1.path), "decode-0:2", "--exec", "-c", "hostname")
    assert inside.stdout.split() == ["n005"], inside.stderr
    missing = dsr1.launcher("attach", str(dsr1.path), "decode-0:4")
    assert missing.returncode == 2
    assert "decode-0 has no rank '4'; it has 0 to 3" in missing.stderr


def test_report(dsr1: Run) -> None:
    made = dsr1.launcher("report", str(dsr1.path))
    assert made.returncode == 0, made.stderr
    page = Path(made.stdout.strip()).read_text()
    assert page.count('class="node"') == 6
    assert "decode-0, rank 3 of 4: GPUs 0-7" in page


def test_why_a_job_waits(cluster: Cluster, tmp_path: Path) -> None:
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        run = launcher.start(launcher.write(small()), wait=None, sbatch=["--begin=now+1hour"])
        shown = launcher("status", str(run.path)).stdout
        # it waits for its time, and for the nodes that the deployment of the tests above holds
        assert re.search(r"^waiting for nodes: .* \((BeginTime|Resources|Priority)\)$", shown, re.M), shown
        assert re.search(r"^expected start: (in about|at any moment)", shown, re.M)
        launcher("cancel", str(run.path))


def test_check_quotes_slurm(cluster: Cluster) -> None:
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        config = launcher.write(small())
        good = launcher("check", config)
        assert (good.returncode, good.stdout) == (0, ""), good.stdout
        assert "Slurm would take it: Job " in good.stderr
        bad = launcher("check", config, "--set", "slurm.partition=gpuu")
        assert bad.returncode == 2
        assert bad.stdout == (
            "--set slurm.partition=gpuu: error: slurm.partition: Slurm would refuse the job: "
            "invalid partition specified: gpuu; allocation failure: Invalid partition name specified; "
            "your cluster has: gpu\n"
        )
        large = launcher("check", config, "--set", "decode.args.tp-size=128")
        assert large.returncode == 2
        assert "Slurm would refuse the job" in large.stdout


def test_preflight_of_a_job_that_runs(dsr1: Run) -> None:
    done = dsr1.launcher("preflight", str(dsr1.path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:7]] == [f"n{n:03}" for n in range(1, 7)]


def test_the_rehearsal_of_the_first_run(cluster: Cluster) -> None:
    """docs/first-run.md: the laptop's config on a cluster."""
    cluster.reset()
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        run = launcher.start(f"{ROOT}/configs/local.yaml", sets=["slurm.gpu_request=none"])
        assert launcher("chat", "demo").returncode == 0
        assert launcher("cancel", "demo").returncode == 0
        assert run.has("stop", "done")


def test_preflight_names_the_bad_node(cluster: Cluster) -> None:
    """Nodes have a /tmp of their own: the model is on two of three."""
    cluster.reset()  # the deployment of the tests above holds the nodes
    for node in ("n001", "n002"):
        cluster.run("mkdir -p /tmp/model && echo '{}' > /tmp/model/config.json", node, cwd="/", check=True)
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        config = launcher.write(small(prefill=(1, 8), decode=(1, 16)))
        model = ("--set", "model.path=/tmp/model", "--set", "slurm.nodelist=n[001-003]")
        done = launcher("preflight", config, *model)
        assert done.returncode == 1, done.stdout + done.stderr
        rows = [line.split()[0] for line in done.stdout.splitlines()[1:4]]
        assert rows == ["n001", "n002", "n003"]
        assert "n003: model: the model's folder is not there" in done.stdout
        found = json.loads(launcher("preflight", config, *model, "--json").stdout)
        assert found["bad"] == ["n003"]
    for node in ("n001", "n002"):
        cluster.run("rm -r /tmp/model", node, cwd="/", check=True)


def test_preflight_says_why_it_waits_and_gives_up(cluster: Cluster) -> None:
    cluster.reset()
    holder = cluster.submit("sleep 600", "--nodelist=n001", "--exclusive")
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        config = launcher.write(small(prefill=(1, 8), decode=(1, 8)))
        done = launcher("preflight", config, "--set", "slurm.nodelist=n[001-002]", "--timeout", "3")
        assert done.returncode == 1, done.stdout + done.stderr
        assert re.search(r"^ +queued +\S.* \((Resources|Priority|None)\)$", done.stderr, re.M), done.stderr
        assert re.search(r"Slurm gave no nodes within 3 s: job \d+ waits for \w+, and is cancelled$", done.stderr, re.M)
    assert cluster.unfinished_jobs() == [holder]
    cluster.cancel(holder)


@pytest.mark.skipif(not TORCH, reason="SGL_LAUNCH_TORCH_PYTHON names no Python with torch and nixl")
def test_preflight_over_the_network(cluster: Cluster) -> None:
    """A real all-reduce over two nodes and real transfers between two, which only TCP can carry."""
    cluster.reset()
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        config = launcher.write(small(prefill=(1, 16), decode=(1, 8)))
        sets = [f"python={TORCH}", "env={UCX_TLS: tcp, UCX_NET_DEVICES: eth0}"]
        done = launcher("preflight", config, "--json", *(f"--set={item}" for item in sets), timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        links = {x["name"]: x for x in json.loads(done.stdout)["network"]}
        group, pair = links["prefill-0"], links["prefill-0>decode-0"]
        assert (group["verdict"], len(set(group["hosts"]))) == ("ok", 2), links
        assert group["text"].startswith("gloo, ")
        assert (pair["verdict"], len(set(pair["hosts"]))) == ("ok", 2), links
        assert pair["rate"] > 0.01
        assert cluster.run("squeue --noheader").stdout == ""
        # a device that is not there: the pair is named, and the stage ends the job
        sets[1] = "env={UCX_TLS: tcp, UCX_NET_DEVICES: ib9}"
        run = launcher.start(config, sets=[*sets, "preflight=true"], wait=None)
        assert cluster.wait_job(run.job, 120) == "FAILED", run.output
        assert "the network fails: prefill-0>decode-0: " in run.output
        assert "prefill-0           allreduce  ok: gloo" in (run.path / "preflight.txt").read_text()


def test_preflight_as_a_stage(cluster: Cluster) -> None:
    """The model is on one of two nodes: the job ends at once, and names the other one."""
    cluster.reset()
    cluster.run("mkdir -p /tmp/model && echo '{}' > /tmp/model/config.json", "n001", cwd="/", check=True)
    with shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        config = launcher.write(small(prefill=(1, 8), decode=(1, 8)))
        sets = ["model.path=/tmp/model", "preflight=true", "slurm.nodelist=n[001-002]"]
        run = launcher.start(config, sets=sets, wait=None)
        assert cluster.wait_job(run.job, 30) == "FAILED", run.output
        assert "bad nodes: n002 (the model's folder is not there)" in run.output
        assert "n002" in (run.path / "preflight.txt").read_text()
        good = launcher.start(config, sets=["preflight=true"])
        assert ("preflight", "done") in [event[:2] for event in good.events()]
        launcher("cancel", str(good.path))
    cluster.run("rm -r /tmp/model", "n001", cwd="/", check=True)
