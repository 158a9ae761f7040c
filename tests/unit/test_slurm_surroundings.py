"""What Slurm's variables in the shell that one submits from do to a job: nothing that is not said."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from launcher.executors.sbatch import environment, said_of
from launcher.run.slurm import environment as questions

from .helpers import BASE, Cli

NOT_OURS = """SLURM_TIMELIMIT SLURM_GPUS SLURM_JOB_ID SLURM_HOSTFILE SRUN_CPUS_PER_TASK SBATCH_GPUS SBATCH_ARRAY_INX
    SBATCH_WAIT SBATCH_GPUS_PER_TASK SBATCH_NTASKS_PER_GPU""".split()


@pytest.mark.parametrize("name", NOT_OURS)
def test_left_out(name: str) -> None:
    assert name not in environment({name: "1"}, [])


@pytest.mark.parametrize("name", ["SBATCH_TIMELIMIT", "SALLOC_TIMELIMIT"])
def test_what_the_config_sets_holds(name: str) -> None:
    assert name not in environment({name: "1"}, ["time"])
    assert name in environment({name: "1"}, ["partition"])


@pytest.mark.parametrize(
    ("name", "sets", "said"),
    [
        ("SBATCH_TIMELIMIT", ["time"], "no effect: the config sets slurm.time"),
        ("SBATCH_GPUS", [], "no effect: --gpus"),
        ("SBATCH_PARTITION", [], "sets --partition=1 for this job"),
        ("SBATCH_MEM_PER_NODE", [], "sets --mem=1 for this job"),
        ("SBATCH_GPUS_PER_TASK", [], "no effect: the config sets slurm.gpus_per_node"),
        ("SBATCH_NTASKS_PER_GPU", [], "no effect: the config sets slurm.gpus_per_node"),
        ("SBATCH_MEM_PER_CPU", ["mem"], "no effect: the config sets slurm.mem"),
        ("SBATCH_MEM_PER_CPU", [], "sets --mem-per-cpu=1 for this job"),
        ("SLURM_CLUSTERS", [], "sets --clusters=1 for this job"),
        ("SLURM_CLUSTERS", ["clusters"], "no effect: the config sets slurm.clusters"),
        ("SBATCH_EXPORT", [], ""),
        ("SLURM_TIMELIMIT", [], ""),
    ],
)
def test_it_is_said(name: str, sets: list[str], said: str) -> None:
    found = said_of({name: "1"}, sets)
    assert bool(found) == bool(said)
    assert all(said in line and name in line for line in found)


@pytest.mark.parametrize("name", ["SQUEUE_FORMAT", "SQUEUE_PARTITION", "SACCT_FORMAT", "SINFO_FORMAT", "SCONTROL_ALL"])
def test_our_questions_are_not_filtered(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert name not in questions()


@pytest.fixture
def sbatch(programs: Path) -> Path:
    """Takes every job, and writes down the environment that it got."""
    for name, text in (("sbatch", 'env > "$HOME/seen"; echo 7'), ("srun", "exit 1")):
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(stat.S_IRWXU)
    return programs


def test_check_asks_with_the_environment_of_submit(sbatch: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.yaml").write_text(f"{BASE}slurm: {{time: '04:00:00'}}\n")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "1")
    monkeypatch.setenv("SBATCH_QOS", "low")
    checked = cli("check", "c.yaml")
    seen = (Path.home() / "seen").read_text()
    assert "SBATCH_TIMELIMIT" not in seen
    assert "SBATCH_QOS" in seen
    assert "SBATCH_TIMELIMIT=1 in your environment has no effect" in checked.out
    assert "SBATCH_QOS in your environment sets --qos=low" in checked.out
    submitted = cli("submit", "c.yaml")
    assert "SBATCH_TIMELIMIT=1 in your environment has no effect" in submitted.err


# --- inside an allocation -----------------------------------------------------------------------------------------


def test_here_needs_an_allocation_that_is_large_enough(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.yaml").write_text(BASE)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert "get one with salloc" in cli("submit", "c.yaml", "--cluster", "here").err
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    refused = cli("submit", "c.yaml", "--cluster", "here")
    assert refused.code == 2
    assert "takes 2 nodes, and allocation 12 has 1" in refused.err
    assert not Path("runs").exists()


def test_submit_names_the_allocation_that_one_has(sbatch: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.yaml").write_text(BASE)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert "--cluster here" in cli("submit", "c.yaml").err
