"""What sbatch said when it refused a job: once, with the key that it is about."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from launcher.base.errors import InputError
from launcher.executors import slurm
from launcher.executors.refusal import refused
from launcher.executors.sbatch import check_options, environment, job_in
from launcher.executors.slurm import sbatch_command

from .helpers import BASE, Cli

FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("output", "end"),
    [
        (
            f"sbatch: error: invalid partition specified: nowhere\n{FAILED}Invalid partition name specified",
            "; look at slurm.partition",
        ),
        (f"{FAILED}Invalid account or account/partition combination specified", "; look at slurm.account"),
        (f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)", "; look at slurm.time"),
        (
            f"{FAILED}Requested node configuration is not available",
            "; look at slurm.gpus_per_node, and at how many nodes the workers take (`sgl-launch plan`)",
        ),
        (f"{FAILED}Invalid license specification", "; look at slurm.licenses"),
        (f"{FAILED}Job dependency problem", "; look at slurm.dependency"),
        ("sbatch: error: 'far' is an invalid entry for --cluster.", "look at slurm.clusters"),
        ("sbatch: ERROR: this cluster is full until Friday\n" + FAILED + "Unspecified error", "full until Friday"),
        (
            f"{FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "time limits)",
        ),
        ("sbatch: unrecognized option '--no-such-option'\nTry \"sbatch --help\" for more information", "information"),
        ("", "sbatch refused the job: it did not say why"),
        # a plug-in's own words: the line that says error, and no key from a note beside it
        (
            "sbatch: account 'ai' has 9 GPU-hours left\nsbatch: ERROR: name the GPU type\n"
            f"{FAILED}Unspecified error",
            "ERROR: name the GPU type; look at slurm.gpu_type",
        ),
        (
            f"sbatch: account 'ai' has no GPU-hours left this month\n{FAILED}Unspecified error",
            "refused the job: account 'ai' has no GPU-hours left this month",
        ),
        (f"{FAILED}Unspecified error", "refused the job: Batch job submission failed: Unspecified error"),
    ],
)
def test_the_key_is_named(output: str, end: str) -> None:
    said = refused(output)
    assert said.startswith("sbatch refused the job: ")
    assert said.endswith(end)
    assert "\n" not in said


def test_it_is_said_once(cli: Cli, programs: Path) -> None:
    Path("c.yaml").write_text(BASE)
    for name in ("srun", "sbatch"):
        made = programs / name
        made.write_text(f"#!/bin/sh\necho '{FAILED}Invalid partition name specified' >&2\nexit 1\n")
        made.chmod(0o755)
    done = cli("submit", "c.yaml")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "sgl-launch: sbatch refused the job: Batch job submission failed: Invalid partition name specified"
        "; look at slurm.partition\n"
    )


def test_a_slurm_that_does_not_answer_has_refused_nothing() -> None:
    said = refused("sbatch: error: fetch_config: DNS SRV lookup failed\nsbatch: fatal: no configuration source")
    assert said.startswith("Slurm does not answer (fetch_config")
    assert said.endswith("`sgl-launch submit --cluster local` runs it on this machine")


# --- sbatch's answer ----------------------------------------------------------------------------------------


def programs_of(folder: Path, **bodies: str) -> None:
    for name, body in {"srun": "exit 1", **bodies}.items():
        made = folder / name
        made.write_text(f"#!/bin/bash\n{body}\n")
        made.chmod(0o755)


@pytest.mark.parametrize(
    ("output", "job"),
    [
        ("17\n", "17"),
        ("17;far\n", "17;far"),
        ("17\ncharged to project ai-17\n", "17"),
        ("NOTE: maintenance on Friday\n17\nNOTE: submitted\n", "17"),
        ("sbatch: lua: 3 jobs wait\n  17  \n", "17"),
        ("Submitted batch job 17\n", "17"),
        ("Submitted batch job 17 on cluster far\n", "17;far"),
        ("12 jobs wait\n", ""),
        ("", ""),
    ],
)
def test_the_job_in_whatever_else_is_printed(output: str, job: str) -> None:
    assert job_in(output) == job


def test_a_wrapper_that_prints_more(cli: Cli, programs: Path) -> None:
    Path("c.yaml").write_text(BASE)
    programs_of(programs, sbatch="echo 17; echo charged to project ai-17; printf 'Gr\\374\\337e' ")
    done = cli("submit", "c.yaml")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"t: job 17, {Path('runs').absolute()}/t-17\n"
    assert sorted(p.name for p in Path("runs/t-17").iterdir()) == [
        "config.yaml", "effective.yaml", "submit.json", "submitted.sh",
    ]  # fmt: skip
    assert [p.name for p in Path("runs").iterdir()] == ["t-17"]
    assert cli("submit", "c.yaml", "--parsable").out == "17\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo welcome", "sbatch printed no job id but 'welcome'"),
        ("exit 0", "sbatch printed no job id"),
        ("sleep 60", "sbatch did not answer within 1 s"),
        (f"echo '{FAILED}Socket timed out on send/recv operation' >&2; exit 1", "Slurm did not answer (Batch job sub"),
    ],
)
def test_a_job_that_there_may_be_is_not_denied(
    cli: Cli, programs: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    monkeypatch.setattr(slurm, "LIMIT", 1.0)
    Path("c.yaml").write_text(BASE)
    programs_of(programs, sbatch=body)
    done = cli("submit", "c.yaml")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"sgl-launch: {said}")
    assert "the job may have been submitted all the same; `squeue --me --name=t` shows it" in done.err


def test_an_sbatch_that_does_not_end_after_its_answer(
    cli: Cli, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "LIMIT", 1.0)
    Path("c.yaml").write_text(BASE)
    programs_of(programs, sbatch="echo 17; sleep 60")
    done = cli("submit", "c.yaml")
    assert (done.code, done.out[:9]) == (0, "t: job 17")
    assert "warning: job 17: sbatch did not end after it had submitted the job" in done.err


def test_a_full_disk_does_not_lose_the_job(cli: Cli, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.yaml").write_text(BASE)
    programs_of(programs, sbatch="echo 17")
    real = Path.write_text

    def full(path: Path, *args: Any, **kwargs: Any) -> int:
        if "t-17" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr("launcher.commands.submit.shutil.copyfile", lambda _, to: full(to, ""))
    done = cli("submit", "c.yaml")
    assert (done.code, done.out[:9]) == (0, "t: job 17")
    assert done.err == (
        f"sgl-launch: warning: not written to {Path('runs').absolute()}/t-17: config.yaml, effective.yaml, submit.json "
        "(No space left on device); the job goes on\n"
    )


def test_a_run_folder_that_somebody_else_made_before(
    cli: Cli, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("c.yaml").write_text(BASE)
    programs_of(programs, sbatch="echo 17")
    Path("runs/t-17").mkdir(parents=True)
    monkeypatch.setattr("launcher.run.folder.os.geteuid", lambda: os.getuid() + 1)
    done = cli("submit", "c.yaml")
    assert "runs/t-17 belongs to another user: the job can't use it" in done.err
    assert not Path("runs/t-17/submitted.sh").exists()


# --- sbatch's options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--array=0-1"], "a job array of deployments is not supported"),
        (["--array", "0-1"], "a job array of deployments is not supported"),
        (["--arr=0-1"], "a job array of deployments is not supported"),
        (["-a", "0-1"], "a job array of deployments is not supported"),
        (["-a0-1"], "a job array of deployments is not supported"),
        (["-Ha0-1"], "a job array of deployments is not supported"),
        (["--hold", "-N", "3"], "follows from the workers and their sizes"),
        (["--nodes=3"], "follows from the workers and their sizes"),
        (["--gres=gpu:1"], "set --set slurm.gpus_per_node and --set slurm.gpu_type"),
        (["-o", "x"], "the job's output is in its run folder"),
        (["--wait"], "use `submit --wait done`"),
        (["-W"], "use `submit --wait done`"),
        (["--parsable"], "use `submit --parsable`"),
        (["other.sh"], "'other.sh' after -- is no option of sbatch"),
        (["--time=10", "other.sh"], "'other.sh' after -- is no option of sbatch"),
    ],
)
def test_what_the_plan_decides_is_refused(cli: Cli, words: list[str], said: str) -> None:
    with pytest.raises(InputError) as error:
        check_options(words)
    assert said in str(error.value)
    Path("c.yaml").write_text(BASE)
    assert cli("submit", "--dry-run", "c.yaml", "--", *words).code == 2


@pytest.mark.parametrize(
    "words",
    [
        [], ["--reservation=night"], ["--account", "a", "-p", "batch"], ["-t10"], ["-paNe"], ["--wait-all-nodes=1"],
        ["--gres-flags=enforce-binding"], ["-d", "afterok:1"], ["-H"], ["--no-kill"],
        ["--account=a", ":", "--account=b"],
    ],
)  # fmt: skip
def test_what_it_does_not_is_handed_on(words: list[str]) -> None:
    assert sbatch_command("job.sh", Path("/r"), "t", words)[3:-1] == words


def test_variables_of_the_session() -> None:
    given = {
        "PATH": "/bin", "SBATCH_ARRAY_INX": "0-1", "SBATCH_WAIT": "1", "SBATCH_TIMELIMIT": "1", "SBATCH_ACCOUNT": "a",
        "SBATCH_GPUS_PER_NODE": "1", "SBATCH_MEM_PER_NODE": "1", "SBATCH_PARTITION": "p", "SLURM_GPUS": "1",
        "SLURM_JOB_ID": "3", "SLURM_CONF": "/c", "SLURM_CLUSTERS": "far", "SRUN_EXPORT_ENV": "x", "SLURMX": "y",
    }  # fmt: skip
    assert environment(given, ["time", "mem"]) == {
        "PATH": "/bin", "SBATCH_ACCOUNT": "a", "SBATCH_PARTITION": "p", "SLURM_CONF": "/c", "SLURM_CLUSTERS": "far",
        "SLURMX": "y",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "sets", "there"),
    [
        ("SBATCH_ARRAY_INX", [], False),
        ("SBATCH_WAIT", [], False),
        ("SLURM_GPUS", [], False),
        ("SBATCH_TIMELIMIT", [], True),
        ("SBATCH_TIMELIMIT", ["--set", "slurm.time=04:00:00"], False),
    ],
)
def test_what_sbatch_is_given(
    cli: Cli, programs: Path, monkeypatch: pytest.MonkeyPatch, variable: str, sets: list[str], there: bool
) -> None:
    monkeypatch.setenv(variable, "1")
    Path("c.yaml").write_text(BASE)
    programs_of(programs, sbatch="env >env.txt; echo 17")
    assert cli("submit", "c.yaml", *sets).code == 0
    assert (f"{variable}=1" in Path("env.txt").read_text().splitlines()) is there


def test_characters_of_the_folder(folder: Path) -> None:
    assert sbatch_command("job.sh", Path("/r%u"), "t", [])[2] == "--output=/r%%u/t-%j.out"
    with pytest.raises(InputError, match=r"runs: /r\\u has a backslash"):
        sbatch_command("job.sh", Path("/r\\u"), "t", [])


@pytest.mark.parametrize(
    ("said", "gres", "advice"),
    [
        ("Invalid generic resource (gres) specification", "(null)", "set slurm.gpu_request: none"),
        ("Invalid generic resource (gres) specification", "gpu:a100:4(S:0-1),tmp:1",
         "this cluster has gpu:a100:4; look at slurm.gpus_per_node"),
        ("Invalid partition name specified", "gpu small gpu", "your cluster has: gpu, small"),
    ],
)  # fmt: skip
def test_what_the_cluster_has_instead(said: str, gres: str, advice: str, programs: Path) -> None:
    made = programs / "sinfo"
    made.write_text(f"#!/bin/sh\nprintf '%s\\n' {gres!r} | tr ' ' '\\n'\n")
    made.chmod(0o755)
    assert advice in refused(FAILED + said)
