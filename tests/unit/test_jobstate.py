"""A job's state: Slurm's words, from whichever of its programs knows the job; or its process's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher.base.processes import is_alive, start_time
from launcher.base.programs import MISSING, SILENT, run_command
from launcher.run import slurm
from launcher.run.folder import Event, RunFolder
from launcher.run.history import History
from launcher.run.jobstate import JobState
from launcher.run.slurm import parse, slurm_state
from launcher.run.state import job_state

from .helpers import Cli


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("17|RUNNING|2026-11-23T12:00:00|3:59:32|None\n",
         {"17": JobState("RUNNING", "", "squeue", "2026-11-23T12:00:00", "3:59:32")}),
        ("17|PENDING|N/A|UNLIMITED|Resources\n", {"17": JobState("PENDING", "Resources", "squeue")}),
        ("17|PENDING|N/A|1:00|ReqNodeNotAvail, Unavailable:n[1-2]|x\n",
         {"17": JobState("PENDING", "ReqNodeNotAvail, Unavailable:n[1-2]|x", "squeue", "", "1:00")}),
        ("NOTE: maintenance on Friday\nA|B|C|D\n17|FAILED|N/A|0:00|NonZeroExitCode\ncharged to ai-17\n",
         {"17": JobState("FAILED", "NonZeroExitCode", "squeue", "", "0:00")}),
        ("17|PENDING|N/A|0:00|\x1b]0;title\x07\n",
         {"17": JobState("PENDING", "\\x1b]0;title\\x07", "squeue", "", "0:00")}),
        ("", {}),
        ("slurm_load_jobs error: Invalid job id specified\n", {}),
    ],
)  # fmt: skip
def test_squeue(output: str, found: dict[str, JobState]) -> None:
    assert parse(output, "squeue") == found


@pytest.mark.parametrize(
    ("output", "states"),
    [
        ("17|COMPLETED\n18|CANCELLED by 0\n", {"17": "COMPLETED", "18": "CANCELLED"}),
        ("17|OUT_OF_MEMORY\n", {"17": "OUT_OF_MEMORY"}),
        ("", {}),
        ("Slurm accounting storage is disabled\n", {}),
    ],
)
def test_sacct(output: str, states: dict[str, str]) -> None:
    assert {job_id: state.state for job_id, state in parse(output, "sacct").items()} == states


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
    program(programs, "squeue", 'echo "$*" >squeue.args; echo "17|PENDING|N/A|N/A|Priority"')
    assert slurm_state("17") == JobState("PENDING", "Priority", "squeue")
    assert Path("squeue.args").read_text() == "-h --states=all -o %i|%T|%S|%L|%r -j 17\n"
    program(programs, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    program(programs, "sacct", "echo '17|CANCELLED by 1000'")
    assert slurm_state("17") == JobState("CANCELLED", "", "sacct")


def test_nobody_knows_and_why(programs: Path) -> None:
    program(programs, "squeue", "echo first; echo 'Invalid job id' >&2; exit 1")
    program(programs, "sacct", "exit 0")
    state = slurm_state("17")
    assert state == JobState("UNKNOWN", "squeue: Invalid job id; sacct: nothing", forgotten=True)
    assert not state.ended
    program(programs, "squeue", "echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1")
    assert not slurm_state("17").forgotten
    assert slurm_state("L1").forgotten


def test_without_slurm(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(programs))
    assert slurm_state("17") == JobState("UNKNOWN", "squeue is not on PATH")


HANG = "echo x >&2; sleep 60"  # its child keeps the pipe open when it is killed


def test_a_controller_that_hangs_costs_one_limit(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "PATIENCE", 0.3)
    program(programs, "squeue", HANG)
    program(programs, "sacct", HANG)
    begin = time.monotonic()
    assert slurm_state("17", 1.0) == JobState("UNKNOWN", "Slurm did not answer within 1 s")
    assert time.monotonic() - begin < 1.6
    # the accounting needs no controller
    program(programs, "sacct", "echo '17|RUNNING'")
    begin = time.monotonic()
    assert slurm_state("17", 5.0) == JobState("RUNNING", "", "sacct")
    assert time.monotonic() - begin < 1.0


def test_a_controller_that_is_slow_is_waited_for(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "PATIENCE", 0.1)
    program(programs, "squeue", "sleep 0.5; echo '17|PENDING|N/A|N/A|Priority'")
    program(programs, "sacct", "exit 1")
    assert slurm_state("17", 5.0) == JobState("PENDING", "Priority", "squeue")


def test_status_says_that_slurm_did_not_answer(
    programs: Path, folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "PATIENCE", 0.1)
    monkeypatch.setattr(slurm, "LIMIT", 0.3)
    for name in ("squeue", "sacct", "scontrol"):
        program(programs, name, "exec sleep 60")
    path = folder / "runs" / "demo-17"
    path.mkdir(parents=True)
    RunFolder(path).add_event("nodes", "started")
    assert "not known: Slurm did not answer within 0.3 s\n" in cli("status", "17").out
    assert cli("list").err == "Slurm did not answer within 0.3 s\n"


@pytest.mark.parametrize("variable", ["SQUEUE_PARTITION", "SQUEUE_USERS", "SQUEUE_FORMAT2", "SLURM_TIME_FORMAT"])
def test_filters_of_the_session_hide_no_job(programs: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "zzz")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    program(programs, "squeue", f'[ -z "${{{variable}:-}}" ] && [ -n "$SLURM_CONF" ] && echo "17|RUNNING|N/A|N/A|None"')
    assert slurm_state("17").state == "RUNNING"


def test_the_cluster_that_has_the_job_is_asked(programs: Path, folder: Path) -> None:
    program(programs, "squeue", 'case "$*" in *"-M far"*) echo "CLUSTER: far"; echo "17|RUNNING|N/A|N/A|None" ;; esac')
    program(programs, "sacct", "exit 1")
    path = folder / "runs" / "demo-17"
    path.mkdir(parents=True)
    assert job_state(RunFolder(path)).state == "UNKNOWN"
    RunFolder(path).write_json("submit.json", {"slurm_cluster": "far"})
    assert job_state(RunFolder(path)).state == "RUNNING"


def test_programs_that_are_missing_hang_or_print_other_bytes(programs: Path) -> None:
    assert run_command(["surely-not-there"]) == (MISSING, "surely-not-there is not on PATH")
    program(programs, "slow", HANG)
    begin = time.monotonic()
    assert run_command(["slow"], timeout=0.2) == (SILENT, "slow did not answer within 0.2 s")
    assert time.monotonic() - begin < 1.5
    program(programs, "latin", r"printf 'Gr\374\337e\n'")
    assert run_command(["latin"]) == (0, "Gr\ufffd\ufffde\n")
    (programs / "text").write_text("no program")
    assert run_command([str(programs / "text")])[1].endswith("can't be started: Permission denied")


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
    assert History.of([Event(1.0, *e) for e in events]).end == state


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
    told = "11|RUNNING|N/A|N/A|None\\n12|PENDING|N/A|N/A|Nodes required, A|B\\n"
    program(programs, "squeue", f"echo \"$*\" >>squeue.args; printf '{told}'")
    program(programs, "sacct", 'echo "$*" >>sacct.args; echo "14|CANCELLED by 0"')
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


def test_cancel_by_name_minds_those_alone_that_live(programs: Path, folder: Path, cli: Cli) -> None:
    """Slurm has forgotten 11, which recorded no end; 12 runs; with 13 there are two to choose from."""
    state = 'state=RUNNING; [ ! -e gone ] || state=CANCELLED; '
    program(programs, "squeue", state + 'echo "12|$state|N/A|N/A|None"')
    program(programs, "sacct", "exit 1")
    program(programs, "scancel", 'echo "$*" >>gone')
    for number in (11, 12):
        path = folder / "runs" / f"demo-{number}"
        path.mkdir(parents=True)
        RunFolder(path).add_event("nodes", "started")
    done = cli("cancel", "demo")
    assert (done.code, Path("gone").read_text()) == (0, "12\n"), done.err
    Path("gone").unlink()
    program(programs, "squeue", 'echo "12|RUNNING|N/A|N/A|None"; echo "13|PENDING|N/A|N/A|Priority"')
    (folder / "runs" / "demo-13").mkdir()
    RunFolder(folder / "runs" / "demo-13").add_event("nodes", "started")
    done = cli("cancel", "demo")
    assert (done.code, Path("gone").exists()) == (2, False)
    assert "2 runs named 'demo' have not ended: 12, 13; which one?" in done.err
