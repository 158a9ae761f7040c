"""A job's state: Slurm's words, from whichever of its programs knows the job; or its process's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.base.processes import is_alive, start_time
from launcher.run.folder import Event, RunFolder
from launcher.run.state import (
    JobState,
    job_state,
    job_states,
    parse_sacct,
    parse_scontrol,
    parse_squeue,
    parse_states,
    recorded_end,
    run_command,
    slurm_state,
)

from .helpers import Cli


@pytest.mark.parametrize(
    ("output", "state"),
    [
        ("RUNNING|None\n", JobState("RUNNING")),
        ("PENDING|Resources\n", JobState("PENDING", "Resources")),
        ("PENDING|ReqNodeNotAvail, Unavailable:n[1-2]\n", JobState("PENDING", "ReqNodeNotAvail, Unavailable:n[1-2]")),
        ("FAILED|NonZeroExitCode\n", JobState("FAILED", "NonZeroExitCode")),
        ("", None),
        ("\n", None),
        ("slurm_load_jobs error: Invalid job id specified\n", None),
    ],
)  # fmt: skip
def test_squeue(output: str, state: JobState | None) -> None:
    assert parse_squeue(output) == state


SCONTROL = (
    "JobId=17 JobName=dsr1 UserId=root(0) GroupId=root(0) MCS_label=N/A Priority=1 Nice=0 Account=(null) QOS=(null) "
    "JobState={state} Reason={reason} Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=1:0 "
    "TRES=cpu=4,mem=1G,node=2,billing=4 Command=/a=b/job.sh Comment=x=y\n"
)


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("RUNNING", "None", JobState("RUNNING")),
        ("FAILED", "NonZeroExitCode", JobState("FAILED", "NonZeroExitCode")),
        ("CANCELLED", "None", JobState("CANCELLED")),
    ],
)
def test_scontrol(state: str, reason: str, expected: JobState) -> None:
    assert parse_scontrol(SCONTROL.format(state=state, reason=reason)) == expected


def test_scontrol_without_the_job() -> None:
    assert parse_scontrol("slurm_load_jobs error: Invalid job id specified") is None
    assert parse_scontrol("") is None


@pytest.mark.parametrize(
    ("output", "state"),
    [
        ("COMPLETED\n", "COMPLETED"),
        ("CANCELLED by 0\n", "CANCELLED"),
        ("OUT_OF_MEMORY\n", "OUT_OF_MEMORY"),
        ("", None),
        ("Slurm accounting storage is disabled\n", None),
    ],
)
def test_sacct(output: str, state: str | None) -> None:
    found = parse_sacct(output)
    assert (found.state if found else None) == state


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        ("PENDING", False), ("CONFIGURING", False), ("RUNNING", False), ("COMPLETING", False), ("SUSPENDED", False),
        ("REQUEUED", False), ("UNKNOWN", False),
        ("COMPLETED", True), ("FAILED", True), ("CANCELLED", True), ("TIMEOUT", True), ("NODE_FAIL", True),
        ("PREEMPTED", True), ("OUT_OF_MEMORY", True), ("BOOT_FAIL", True), ("DEADLINE", True), ("REVOKED", True),
        ("LAUNCH_FAILED", True), ("RECONFIG_FAIL", True), ("SPECIAL_EXIT", False), ("RESV_DEL_HOLD", False),
    ],
)  # fmt: skip
def test_which_states_are_final(state: str, ended: bool) -> None:
    assert JobState(state).ended is ended


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_the_first_program_that_knows_the_job(programs: Path) -> None:
    program(programs, "squeue", 'echo "$*" >squeue.args; echo "PENDING|Priority"')
    assert slurm_state("17") == JobState("PENDING", "Priority", "squeue")
    assert Path("squeue.args").read_text() == "-h -j 17 -o %T|%r\n"
    program(programs, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    program(programs, "scontrol", "echo 'JobId=17 JobState=COMPLETED Reason=None'")
    assert slurm_state("17") == JobState("COMPLETED", "", "scontrol")
    program(programs, "scontrol", "exit 1")
    program(programs, "sacct", "echo 'CANCELLED by 1000'")
    assert slurm_state("17") == JobState("CANCELLED", "", "sacct")


def test_nobody_knows_and_why(programs: Path) -> None:
    for name in ("squeue", "scontrol"):
        program(programs, name, "echo first; echo 'Invalid job id' >&2; exit 1")
    program(programs, "sacct", "exit 0")
    state = slurm_state("17")
    assert state == JobState("UNKNOWN", "squeue: Invalid job id; scontrol: Invalid job id; sacct: nothing")
    assert not state.ended


def test_programs_that_are_missing_or_hang(programs: Path) -> None:
    program(programs, "slow", "exec sleep 60")
    assert run_command(["surely-not-there"]) == (127, "surely-not-there is not on PATH")
    assert run_command(["slow"], timeout=0.2) == (124, "slow did not answer within 0 s")


def local_run(folder: Path, pid: int, started: int | None) -> RunFolder:
    path = folder / "runs" / "demo-L1"
    path.mkdir(parents=True, exist_ok=True)
    run = RunFolder(path)
    run.write_json("local.json", {"pid": pid, "start_time": started})
    return run


def test_a_local_job(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        run = local_run(folder, process.pid, start_time(process.pid))
        assert job_state(run) == JobState("RUNNING", "", "process")
        # the same pid, but somebody else's
        assert job_state(local_run(folder, process.pid, 1)) == JobState(
            "FAILED", "killed: no exit status", "process"
        )
        run = local_run(folder, process.pid, start_time(process.pid))
    finally:
        process.kill()
        process.wait()
    assert job_state(run).ended


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([("stop", "done", "exit status 0")], JobState("COMPLETED", "", "events")),
        (
            [("workers", "failed", "prefill-0 ended"), ("stop", "done", "exit status 137")],
            JobState("FAILED", "exit status 137", "events"),
        ),
        (
            [("serve", "cancelled", "SIGTERM"), ("stop", "done", "exit status 143")],
            JobState("CANCELLED", "", "events"),
        ),
        ([("stop", "done", "exit status 1"), ("stop", "requeued", "without n001")], None),
        ([("serve", "started", "")], None),
        ([], None),
    ],
)
def test_how_a_job_ended_by_its_own_record(events: list[tuple[str, str, str]], state: JobState | None) -> None:
    assert recorded_end([Event(1.0, *e) for e in events]) == state


def test_a_job_that_slurm_has_forgotten(programs: Path, folder: Path) -> None:
    for name in ("squeue", "scontrol", "sacct"):
        program(programs, name, "echo 'Invalid job id' >&2; exit 1")
    path = folder / "runs" / "demo-17"
    path.mkdir(parents=True)
    run = RunFolder(path)
    assert job_state(run).state == "UNKNOWN"
    run.add_event("stop", "done", "exit status 1")
    assert job_state(run) == JobState("FAILED", "exit status 1", "events")


def test_many_jobs_are_asked_for_at_once(programs: Path, folder: Path, cli: Cli) -> None:
    for number, end in {11: "", 12: "", 13: "exit status 1", 14: "", 15: ""}.items():
        path = folder / "runs" / f"demo-{number}"
        path.mkdir(parents=True)
        RunFolder(path).add_event("nodes", "started")
        if end:
            RunFolder(path).add_event("stop", "done", end)
    local_run(folder, 2**22 + 1, 1).add_event("stop", "done", "exit status 0")
    program(
        programs, "squeue", 'echo "$*" >>squeue.args; echo "11|RUNNING|None"; echo "12|PENDING|Nodes required, A|B"'
    )
    program(programs, "sacct", 'echo "$*" >>sacct.args; echo "14|CANCELLED by 0"')
    program(programs, "scontrol", "touch scontrol.args")
    rows = {row["job_id"]: (row["state"], row["reason"]) for row in json.loads(cli("list", "--json").out)}
    assert rows == {
        "11": ("RUNNING", ""),
        "12": ("PENDING", "Nodes required, A|B"),
        "13": ("FAILED", "exit status 1"),
        "14": ("CANCELLED", ""),
        "15": ("UNKNOWN", ""),
        "L1": ("COMPLETED", ""),
    }
    (asked,) = Path("squeue.args").read_text().splitlines()
    assert sorted(asked.split()[-1].split(",")) == ["11", "12", "13", "14", "15"]
    (asked,) = Path("sacct.args").read_text().splitlines()
    assert sorted(asked.split()[-1].split(",")) == ["14", "15"]
    assert not Path("scontrol.args").exists()


def test_many_jobs_without_slurm(programs: Path, folder: Path) -> None:
    program(programs, "squeue", "echo 'Invalid job id specified' >&2; exit 1")
    program(programs, "sacct", "exit 0")
    path = folder / "runs" / "demo-17"
    path.mkdir(parents=True)
    (state,) = job_states([RunFolder(path)])
    assert state == JobState("UNKNOWN", "squeue: Invalid job id specified; sacct: nothing")
    assert job_states([]) == []


def test_processes() -> None:
    assert is_alive(os.getpid(), start_time(os.getpid()))
    assert not is_alive(os.getpid(), None)
    assert start_time(2**22 + 1) is None


def test_a_zombie_is_gone() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{process.pid}/stat").exists()
    assert start_time(process.pid) is None
    process.wait()


def test_components_are_one_job_in_a_list() -> None:
    output = "12+0|RUNNING|None\n12+1|PENDING|Resources\n7|COMPLETED|None\n"
    found = parse_states(output, "squeue")
    assert {k: str(v) for k, v in found.items()} == {"12": "PENDING (Resources)", "7": "COMPLETED"}
    ended = parse_states("12+0|FAILED\n12+1|CANCELLED by 0", "sacct")
    assert str(ended["12"]) == "FAILED"


def test_cancel_by_name_minds_those_alone_that_live(programs: Path, folder: Path, cli: Cli) -> None:
    """Slurm has forgotten 11, which recorded no end; 12 runs; with 13 there are two to choose from."""
    state = 'state=RUNNING; [ ! -e gone ] || state=CANCELLED; '
    program(programs, "squeue", state + 'case "$*" in *%i*) echo "12|$state|None" ;; *) echo "$state|None" ;; esac')
    program(programs, "sacct", "exit 1")
    program(programs, "scancel", 'echo "$*" >>gone')
    for number in (11, 12):
        path = folder / "runs" / f"demo-{number}"
        path.mkdir(parents=True)
        RunFolder(path).add_event("nodes", "started")
    done = cli("cancel", "demo")
    assert (done.code, Path("gone").read_text()) == (0, "12\n"), done.err
    Path("gone").unlink()
    program(programs, "squeue", 'echo "12|RUNNING|None"; echo "13|PENDING|Priority"')
    (folder / "runs" / "demo-13").mkdir()
    RunFolder(folder / "runs" / "demo-13").add_event("nodes", "started")
    done = cli("cancel", "demo")
    assert (done.code, Path("gone").exists()) == (2, False)
    assert "2 runs named 'demo' have not ended: 12, 13; which one?" in done.err
