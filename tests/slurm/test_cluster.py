"""The test bed itself: is it the cluster that the other tests take it for?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from .cluster import DEFAULT_BASE, Cluster, config, wait_until

ONE_EACH = ("srun", "-N6", "--ntasks-per-node=1")


def test_each_node_has_its_own_name_address_tmp_and_shm(cluster: Cluster) -> None:
    script = (
        "n=$(hostname); touch /tmp/$n /dev/shm/$n; trap 'rm /tmp/$n /dev/shm/$n' EXIT;"
        "echo $n $(hostname -I) $(cd /tmp; echo n*) $(ls /dev/shm)"
    )
    lines = cluster.run([*ONE_EACH, "bash", "-c", script], check=True).stdout.splitlines()
    assert sorted(lines) == [f"{name} {address} {name} {name}" for name, address in cluster.hosts.items()]
    assert not list(Path("/dev/shm").glob("n00?"))


def test_the_share_is_the_same_everywhere(cluster: Cluster, folder: Path) -> None:
    cluster.run([*ONE_EACH, "bash", "-c", "touch $(hostname)"], cwd=folder, check=True)
    assert sorted(os.listdir(folder)) == list(cluster.hosts)


def test_gpus_are_handed_out(cluster: Cluster) -> None:
    show = ["bash", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    assert cluster.run(["srun", "-N1", "--gpus-per-node=4", *show]).stdout == "0,1,2,3\n"
    assert cluster.run(["srun", "-N2", "-n2", "--gpus-per-node=8", *show]).stdout == "0,1,2,3,4,5,6,7\n" * 2
    refused = cluster.run(["srun", "-N1", "--gpus-per-node=9", *show])
    assert refused.returncode != 0
    assert "not available" in refused.stderr


def test_workers_meet_over_the_network_and_loopbacks_are_apart(cluster: Cluster, folder: Path) -> None:
    python = sys.executable
    ask = (
        "import sys, urllib.request\n"
        "try: print(sys.argv[1], urllib.request.urlopen(sys.argv[1], timeout=5).status)\n"
        "except OSError as error: print(sys.argv[1], 'refused' if 'refused' in str(error) else error)\n"
    )
    folder.joinpath("ask.py").write_text(ask)
    cluster.submit(
        f"""
        srun --overlap -N1 -n1 -w n002 {python} -m http.server 8000 &
        until srun --overlap -N1 -n1 -w n003 bash -c '(exec 3<> /dev/tcp/n002/8000) 2> /dev/null'; do :; done
        srun --overlap -N1 -n1 -w n003 {python} ask.py http://n002:8000/ > other
        srun --overlap -N1 -n1 -w n003 {python} ask.py http://127.0.0.1:8000/ > own
        srun --overlap -N1 -n1 -w n002 {python} ask.py http://127.0.0.1:8000/ > server
        touch done
        wait
        """,
        *("-w", "n[001-003]", "--ntasks-per-node=1", "--output=out"),
        cwd=folder,
    )
    wait_until(folder.joinpath("done").exists, 20, "the job's script")
    assert folder.joinpath("other").read_text() == "http://n002:8000/ 200\n"
    assert folder.joinpath("own").read_text() == "http://127.0.0.1:8000/ refused\n"
    assert folder.joinpath("server").read_text() == "http://127.0.0.1:8000/ 200\n"
    (server,) = cluster.listening("n002")
    assert (server.address, server.port) == ("0.0.0.0", 8000)
    assert server.process in cluster.processes("n002")
    assert 8000 not in [listener.port for listener in cluster.listening("n003")]
    assert [process.argv[1:] for process in cluster.processes("n002")] == [("-m", "http.server", "8000")]


def test_heterogeneous_job(cluster: Cluster, folder: Path) -> None:
    job = cluster.submit(
        textwrap.dedent("""\
            #!/bin/bash
            #SBATCH -N1 -o out
            #SBATCH hetjob
            #SBATCH -N2 --ntasks-per-node=1 --gpus-per-node=8
            srun --het-group=1 bash -c 'echo $(hostname) $CUDA_VISIBLE_DEVICES'
            """),
        cwd=folder,
    )
    assert cluster.wait_job(job, 20) == "COMPLETED"
    lines = sorted(folder.joinpath("out").read_text().splitlines())
    assert lines == ["n002 0,1,2,3,4,5,6,7", "n003 0,1,2,3,4,5,6,7"]


def test_signal_reaches_the_batch_script(cluster: Cluster, folder: Path) -> None:
    job = cluster.submit(
        "trap 'echo got >> out; kill $!; exit 3' USR1; sleep 60 & echo ready > out; wait",
        "-N2",
        cwd=folder,
    )
    out = folder / "out"
    wait_until(lambda: out.exists() and out.read_text() == "ready\n", 10, "the script to be ready")
    cluster.run(["scancel", "--batch", "--signal=USR1", str(job)], check=True)
    assert cluster.wait_job(job, 20) == "FAILED"
    assert cluster.job(job)["ExitCode"] == "3:0"
    assert out.read_text() == "ready\ngot\n"


def test_scancel_leaves_nothing_not_even_a_daemon(cluster: Cluster, folder: Path) -> None:
    if not cluster.tracks_processes:
        pytest.skip("no v1 freezer here, so Slurm loses processes that leave their session and parent")
    job = cluster.submit("srun bash -c '(setsid sleep 987 &); sleep 986'", "-N2", "--ntasks-per-node=1", cwd=folder)

    def sleeps() -> list[tuple[str, ...]]:
        everywhere = [process for node in ("n001", "n002") for process in cluster.processes(node)]
        return sorted(process.argv for process in everywhere if process.argv[0] == "sleep")

    wait_until(lambda: sleeps() == [("sleep", "986")] * 2 + [("sleep", "987")] * 2, 10, "both daemons")
    cluster.cancel(job)
    assert cluster.wait_job(job, 20) == "CANCELLED"
    assert cluster.left_over(timeout=0) == {}


def test_what_is_left_is_found_and_removed(cluster: Cluster) -> None:
    # Not by a job: Slurm would end it. This is what the guard after each test must not miss.
    cluster.run("sleep 600 > /dev/null 2>&1 &", "n004", check=True)
    assert list(cluster.left_over(timeout=0)) == ["n004"]
    wait_until(
        lambda: [process.argv for process in cluster.processes("n004")] == [("sleep", "600")],
        5,
        "sleep",
    )
    assert list(cluster.reset(grace=0.1)) == ["n004"]
    assert cluster.left_over(timeout=0) == {}


def test_signals_reach_a_program_on_a_node(cluster: Cluster) -> None:
    process = cluster.popen(["sleep", "600"], "n001")
    wait_until(lambda: [p.argv for p in cluster.processes("n001")] == [("sleep", "600")], 5, "sleep")
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == -signal.SIGTERM
    with pytest.raises(subprocess.TimeoutExpired):
        cluster.run("sleep 600 & sleep 601", "n001", timeout=0.2)
    assert cluster.left_over(timeout=2) == {}


def test_pyxis_options_are_seen(cluster: Cluster) -> None:
    if not cluster.has_pyxis:
        pytest.skip("no gcc, or Slurm's headers are not installed")
    show = "echo $FAKE_PYXIS_CONTAINER_IMAGE $FAKE_PYXIS_CONTAINER_MOUNTS"
    options = ["--container-image=a#b:c", "--container-mounts=/x:/y"]
    assert cluster.run(["srun", "-N1", *options, "bash", "-c", show]).stdout == "a#b:c /x:/y\n"
    assert cluster.run(["srun", "-N1", "bash", "-c", show]).stdout == "\n"


def test_partition_and_heal(cluster: Cluster) -> None:
    def reaches(source: str, target: str) -> bool:
        return cluster.run(f"timeout 1 bash -c 'exec 3<> /dev/tcp/{target}/6818'", source).returncode == 0

    cluster.partition("n001", "n002")
    assert [reaches("n001", "n002"), reaches("n002", "n001"), reaches("n001", "n003")] == [
        False,
        False,
        True,
    ]
    cluster.heal("n001", "n002")
    assert [reaches("n001", "n002"), reaches("n002", "n001")] == [True, True]
    cluster.cut("n003")
    assert not reaches("n001", "n003")
    assert len(cluster.mend()) == 2  # to it and from it
    assert reaches("n001", "n003")


def test_daemons_die_and_come_back_while_a_job_runs(cluster: Cluster, folder: Path) -> None:
    job = cluster.submit("touch started; until [ -e go ]; do sleep 0.05; done", "-w", "n002", cwd=folder)
    wait_until(folder.joinpath("started").exists, 10, "the job")
    cluster.wait_saved()
    cluster.slurmd_kill("n002")
    cluster.ctld_kill()
    assert cluster.run(["sinfo"], timeout=30).returncode != 0
    cluster.ctld_start()
    cluster.slurmd_start("n002")
    folder.joinpath("go").touch()
    assert cluster.wait_job(job, 40) == "COMPLETED"


def test_node_loss_is_noticed_and_mended(cluster_of: Callable[..., Cluster]) -> None:
    # Sooner than the others' cluster would notice; that one is not to take a busy machine for a lost node.
    hasty = cluster_of(nodes=3, slurmd_timeout=3, extra_conf="MessageTimeout=2")
    job = hasty.submit("srun bash -c 'touch $(hostname); sleep 300'", "-N3", "--ntasks-per-node=1", "--no-requeue")
    wait_until(lambda: all(hasty.share.joinpath(name).exists() for name in hasty.hosts), 10, "the job on all nodes")
    hasty.node_kill("n003")
    assert hasty.processes("n003") == []
    assert hasty.wait_job(job, 40) == "NODE_FAIL"
    assert hasty.node_states()["n003"] == "down*"
    hasty.node_boot("n003")
    hasty.wait_node("n003", "idle", 30)


def test_mixed_prefixes_and_gaps(cluster_of: Callable[..., Cluster]) -> None:
    mixed = cluster_of(names=["n[009-011]", "gpu-a[7,9]", "login-like"], gpus=1)
    assert list(mixed.hosts) == ["n009", "n010", "n011", "gpu-a7", "gpu-a9", "login-like"]
    lines = mixed.run(
        [*ONE_EACH, "--gpus-per-node=1", "bash", "-c", "echo $(hostname) $CUDA_VISIBLE_DEVICES"],
        check=True,
    ).stdout
    assert sorted(lines.splitlines()) == sorted(f"{name} 0" for name in mixed.hosts)


def test_accounting_extra_conf_and_a_share_below_tmp(tmp_path: Path) -> None:
    with Cluster.up(nodes=1, gpus=0, accounting=True, extra_conf="MaxJobCount=77", share=tmp_path) as small:
        assert "MaxJobCount             = 77" in small.run(["scontrol", "show", "config"]).stdout
        job = small.submit("touch seen; ls /tmp > tmp")
        assert small.wait_job(job, 20) == "COMPLETED"
        assert tmp_path.joinpath("seen").exists()
        assert tmp_path.joinpath("tmp").read_text().split() == [tmp_path.parts[2]]
        ask = ["sacct", "-n", "-X", "-P", "-j", str(job), "-o", "state"]
        wait_until(lambda: small.run(ask).stdout == "COMPLETED\n", 10, "sacct to know the job's end")
        state = small.state
    assert not state.exists()


def test_a_crash_of_the_test_run_leaves_nothing() -> None:
    # A process that dies without a chance to clean up.
    package = __package__ or ""
    code = f"""
        import os, signal, {package}.cluster as rig
        cluster = rig.Cluster.up(nodes=1)
        cluster.popen(["sleep", "600"], "n001")
        print(cluster.state, cluster._supervisor.pid, rig.pid_of(cluster.state), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    root = Path(__file__).resolve().parents[len(package.split("."))]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    state, *pids = done.stdout.split()
    identity = Path(state, "cluster.id").read_text().strip()
    wait_until(lambda: not any(_runs(pid) for pid in pids), 10, "the cluster's end")
    freezer = Path("/sys/fs/cgroup/freezer")
    assert not freezer.exists() or f"slurm-test-{identity}" not in os.listdir(freezer)
    # The next cluster removes the dead one's folder.
    with Cluster.up(nodes=1) as fresh:
        assert fresh.state.parent == Path(os.environ.get("SLURM_TEST_DIR", DEFAULT_BASE))
        assert not Path(state).exists()


def _runs(pid: str) -> bool:
    """Whether the process is there, and no zombie that this machine's init has not yet looked
    at."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_host_expressions() -> None:
    assert config.expand("n[008-010,12]x") == ["n008x", "n009x", "n010x", "n12x"]
    assert config.expand("gpu-a7") == ["gpu-a7"]
    for wrong in ("n[1-", "n[a]", "n[1-]", "n[3-1]", "", "a,b", "-a", "a_b"):
        with pytest.raises(ValueError, match=r"names no host|no host name|no number"):
            config.expand(wrong)
    with pytest.raises(ValueError, match="twice"):
        config.assign_addresses(["n[1-3]", "n2"])
    with pytest.raises(ValueError, match="rig's own"):
        config.assign_addresses(["login"])
    many = config.assign_addresses(["n[1-600]"])
    assert len(set(many.values())) == 600
    assert many["n251"] == "10.77.2.1"
