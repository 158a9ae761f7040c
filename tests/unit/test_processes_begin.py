"""What each process of the script does before it becomes its program: folders that may not be there, set-up lines."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from launcher.config.load import load_config
from launcher.plan.make import make_plan
from launcher.render import render

from .helpers import BASE, Cli, plan_of


def begin(script: str, process: str = "prefill", **env: str) -> subprocess.CompletedProcess[str]:
    """Run one process of a script, with `env` in place of what it would become."""
    programs = Path("programs")
    programs.mkdir(exist_ok=True)
    for name in ("python3", "nats-server"):
        (programs / name).write_text("#!/bin/sh\nenv\nulimit -n\n")
        (programs / name).chmod(0o755)
    Path("run").mkdir(exist_ok=True)
    ports = "HTTP_PORT NCCL_PORT DIST_INIT_PORT SYSTEM_PORT RPC_PORT NATS_PORT ETCD_PORT BOOTSTRAP_PORT FRONTEND_PORT"
    given = {
        "PATH": f"{programs.absolute()}:/usr/bin:/bin",
        "NODES": "h 10.0.0.1 eth1 all",
        "RANK": "0",
        "GROUP": "prefill-0",
        "NNODES": "1",
        "JOB_ID": "1",
        "HEAD_ADDR": "10.0.0.1",
        "SERVICES_ADDR": "10.0.0.1",
        "RUN": str(Path("run").absolute()),
        "SCRATCH_NAME": "scratch-of-the-job",
        "LAUNCH_PYTHON": "python3",
        **dict.fromkeys(ports.split(), "1"),
        **env,
    }
    Path("job.sh").write_text(script)
    return subprocess.run(["bash", "job.sh", process], env=given, capture_output=True, text=True, check=False)


def variables(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


OPEN = "security: {services: open}\n"


@pytest.fixture
def script() -> str:
    return render(plan_of(BASE + OPEN))


@pytest.mark.parametrize("process", ["prefill", "frontend"])
@pytest.mark.parametrize("home", [None, "/nonexistent", "/proc"])
def test_a_home_that_takes_no_file_is_replaced(script: str, process: str, home: str | None) -> None:
    Path("tmp").mkdir()
    env = {"TMPDIR": str(Path("tmp").absolute()), **({"HOME": home} if home else {})}
    found = variables(begin(script, process, **env))
    assert found["HOME"] == str(Path("tmp/scratch-of-the-job").absolute())
    assert Path("tmp/scratch-of-the-job").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_home_without_room_is_replaced(script: str) -> None:
    Path("tmp").mkdir()
    Path("full").mkdir()
    # a file in it can be opened, and takes nothing
    text = script.replace('"${HOME:-/dev/null}/.sgl-launch-$$"', "/dev/full", 1)
    found = variables(begin(text, TMPDIR=str(Path("tmp").absolute()), HOME=str(Path("full").absolute())))
    assert found["HOME"] == str(Path("tmp/scratch-of-the-job").absolute())


def test_a_home_that_can_be_written_is_kept_and_left_clean(script: str) -> None:
    Path("home").mkdir()
    home = str(Path("home").absolute())
    assert variables(begin(script, HOME=home))["HOME"] == home
    assert list(Path("home").iterdir()) == []


def test_a_tmpdir_that_is_not_there(script: str) -> None:
    found = variables(begin(script, "nats", TMPDIR="/site/scratch/tmp", SCRATCH_NAME=f"sgl-test-{os.getpid()}"))
    Path(f"/tmp/sgl-test-{os.getpid()}").rmdir()
    assert found["TMPDIR"] == "/tmp"


def test_every_library_gets_the_interface_of_the_address(script: str) -> None:
    found = variables(begin(script, HOME="/tmp"))
    assert found["GLOO_SOCKET_IFNAME"] == found["NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME"] == "eth1"
    assert found["NCCL_SOCKET_IFNAME"] == "=eth1"


def test_the_mocker_advertises_the_nodes_address() -> None:
    script = render(plan_of(f"{BASE}{OPEN}engine: mocker\n"))
    assert variables(begin(script, HOME="/tmp"))["DYN_HTTP_RPC_HOST"] == "10.0.0.1"


# --- set-up lines -------------------------------------------------------------------------------------------------


def test_set_up_lines_act_before_every_process_and_env_after_them() -> None:
    lines = "setup: ['export FROM_SETUP=1 A=setup', 'x=$NOT_SET', 'ulimit -n 99']\nenv: {A: config}\n"
    script = render(plan_of(BASE + OPEN + lines))
    for process in ("prefill", "decode", "frontend", "nats"):
        done = begin(script, process, HOME="/tmp", TMPDIR=str(Path.cwd()))
        found = variables(done)
        assert found["FROM_SETUP"] == "1"
        assert found["A"] == ("setup" if process == "nats" else "config")
        assert done.stdout.endswith("\n99\n")


def test_a_line_that_fails_ends_the_process_and_is_named() -> None:
    done = begin(render(plan_of(f"{BASE}{OPEN}setup: ['module load cuda/99', 'export LATER=1']\n")))
    assert done.returncode == 127
    assert "setup: exit status 127 of: module load cuda/99" in done.stderr
    assert "LATER" not in done.stdout


def test_lines_of_the_site_come_first_and_null_leaves_them_out() -> None:
    site = Path("site.yaml")
    site.write_text("setup: [module load a]\n")
    for own, wanted in (
        ("", ["module load a"]),
        ("setup: [module load b]\n", ["module load a", "module load b"]),
        ("setup: null\n", []),
        ("setup: []\n", ["module load a"]),
    ):
        Path("c.yaml").write_text(BASE + own)
        config, source = load_config("c.yaml", sites=[site])
        assert config.setup == wanted
        assert make_plan(config, source, "slurm").config.setup == wanted
    assert load_config("c.yaml", ["setup=null"], sites=[site])[0].setup == []


@pytest.mark.parametrize("setup", ["module load x", "[{a: b}]", '["a\\nb"]', "[true]"])
def test_what_is_no_list_of_lines(setup: str, cli: Cli) -> None:
    Path("c.yaml").write_text(f"{BASE}setup: {setup}\n")
    refused = cli("plan", "c.yaml")
    assert refused.code == 2
    assert "c.yaml:5:" in refused.err
    assert ": setup" in refused.err


def test_a_module_that_pythonpath_hides_is_not_called_a_mistake_of_ours(tmp_path: Path) -> None:
    import sys

    (tmp_path / "pydantic").mkdir()
    (tmp_path / "pydantic" / "__init__.py").write_text("# an old one\n")
    Path("c.yaml").write_text(BASE)
    words = [sys.executable, "-m", "launcher.cli", "plan", "c.yaml"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"PYTHONPATH={tmp_path}" in done.stderr
    assert "please report" not in done.stderr


@pytest.mark.parametrize("runs", ["/tmp/runs", "/dev/shm", "/tmp/../var/tmp/x"])
def test_run_folders_that_each_node_has_of_its_own(runs: str, cli: Cli) -> None:
    Path("c.yaml").write_text(f"{BASE}runs: {runs}\n")
    assert "choose one that all nodes share" in cli("check", "c.yaml", "--no-slurm").out
    assert "every node sees" not in cli("check", "c.yaml", "--no-slurm", "--cluster", "local").out


@pytest.mark.parametrize("line", ['"error":"no space left on device"', "write: No space left on device"])
def test_a_full_disk_in_whatever_spelling(line: str) -> None:
    from launcher.report.causes import CAUSES

    assert any(cause.pattern.search(line) and "disk" in (cause.name + cause.means).lower() for cause in CAUSES)
