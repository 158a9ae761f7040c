"""What is left of a local run when its script is gone: real processes, found and ended; nobody else's."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.base.processes import is_alive, look, send, start_time
from launcher.run.folder import RunFolder
from launcher.run.leftovers import clear, end_leftovers, leftovers

from .helpers import Cli
from .test_runs import add, make_run

Start = Callable[..., subprocess.Popen[bytes]]
# a server that shows a title of its own writes over its arguments and its environment
TITLE = """
import ctypes, os, time
at = [line.split()[0].split("-") for line in open("/proc/self/maps") if "[stack]" in line][0]
stat = open("/proc/self/stat").read().rpartition(")")[2].split()
begin, end = int(stat[47]), int(stat[48])
ctypes.memset(begin, 0, end - begin)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes in sessions of their own; none is left after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*words: str, env: dict[str, str] | None = None, session: bool = True) -> subprocess.Popen[bytes]:
        given = {k: v for k, v in os.environ.items() if k not in ("LAUNCH_RUN", "SGL_JOB_ID")}
        process = subprocess.Popen(words, env={**given, **(env or {})}, start_new_session=session)
        started.append(process)
        return process

    yield begin
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
        process.wait()


def record(run: RunFolder, *processes: subprocess.Popen[bytes]) -> None:
    with (run.path / "processes").open("a") as f:
        f.writelines(f"{p.pid} decode-0\n" for p in processes)


def gone(pid: int, limit: float = 3.0) -> bool:
    end = time.monotonic() + limit
    while look(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return look(pid) is None


@pytest.fixture
def run(folder: Path) -> RunFolder:
    """Its script is gone."""
    made = make_run("demo-L1", process={"pid": 2**22 + 1, "start_time": start_time(os.getpid())})
    add(made, (1.0, "serve", "started"))
    return made


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_children_whose_leader_is_dead(run: RunFolder, start: Start) -> None:
    """By their mark, whatever their session is."""
    leader = start("bash", "-c", "sleep 600 & sleep 600 & setsid sleep 600 & wait", env={"LAUNCH_RUN": str(run.path)})
    while len(children(leader.pid)) < 3:
        time.sleep(0.02)
    pids = children(leader.pid)
    record(run, leader)
    leader.kill()
    leader.wait()
    assert sorted(p.pid for p in leftovers(run)) == sorted(pids)
    ended = end_leftovers(run)
    assert sorted(p.pid for p in ended) == sorted(pids)
    assert all(gone(pid, 0.1) for pid in pids)
    assert leftovers(run) == []


def test_one_whose_environment_is_gone(run: RunFolder, start: Start) -> None:
    """By its session."""
    words = f"{sys.executable} -c '{TITLE}' & sleep 600 & wait"
    leader = start("bash", "-c", words, env={"LAUNCH_RUN": str(run.path)})
    while len(children(leader.pid)) < 2:
        time.sleep(0.02)
    server = children(leader.pid)[0]
    while b"LAUNCH_RUN" in Path(f"/proc/{server}/environ").read_bytes():
        time.sleep(0.02)
    record(run, leader)
    leader.kill()
    leader.wait()
    assert server in [p.pid for p in leftovers(run)]
    end_leftovers(run)
    assert gone(server, 0.1)


def test_one_that_ignores_term_and_one_that_is_stopped(run: RunFolder, start: Start) -> None:
    mark = {"LAUNCH_RUN": str(run.path)}
    deaf = start("bash", "-c", "trap '' TERM; while :; do sleep 0.1; done", env=mark)
    stopped = start("sleep", "600", env=mark)
    os.kill(stopped.pid, signal.SIGSTOP)
    time.sleep(0.2)
    begin = time.monotonic()
    end_leftovers(run, grace=0.5)
    assert time.monotonic() - begin < 2
    assert gone(deaf.pid, 0.1)
    assert gone(stopped.pid, 0.1)


def test_nobody_elses(run: RunFolder, start: Start) -> None:
    other = make_run("demo-L2")
    theirs = start("sleep", "600", env={"LAUNCH_RUN": str(other.path)})
    stranger = start("sleep", "600")  # its number stands in `processes`, of a process that was before it
    newer = start("sleep", "600", env={"LAUNCH_RUN": str(run.path)})
    record(run, theirs, stranger)
    with (run.path / "processes").open("a") as f:
        f.write(f"\nnonsense\n1 init\n{os.getpid()} me\n0 x\n-5 y\n")
    assert [p.pid for p in leftovers(run)] == [newer.pid]
    assert leftovers(run, spare=[newer.pid]) == []


def test_a_start_time_tells_a_number_that_came_again(run: RunFolder, start: Start) -> None:
    ours, stranger = start("env", "-i", "sleep", "600"), start("env", "-i", "sleep", "600")
    time.sleep(0.3)
    with (run.path / "processes").open("w") as f:
        f.write(f"{ours.pid} a {start_time(ours.pid)}\n{stranger.pid} b {(start_time(stranger.pid) or 0) - 1}\n")
    assert [p.pid for p in leftovers(run)] == [ours.pid]


def test_a_signal_goes_to_this_very_process_alone(start: Start) -> None:
    process = start("sleep", "600")
    assert not send(process.pid, (start_time(process.pid) or 0) - 1, signal.SIGKILL)
    assert look(process.pid)
    assert send(process.pid, start_time(process.pid), signal.SIGKILL)
    assert gone(process.pid)
    assert not send(2**22 + 1, 1, signal.SIGKILL)


def test_scratch_and_keys(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (run.path / "secrets").mkdir()
    (run.path / "scratch").write_text("sgl-launch-L1-0a1b\n")
    ours, other = tmp_path / "sgl-launch-L1-0a1b", tmp_path / "sgl-launch-L1-ffff"
    for folder in (ours, other):
        (folder / "data").mkdir(parents=True)
    clear(run)
    assert [p.name for p in tmp_path.glob("sgl-launch-*")] == [other.name]
    assert not (run.path / "secrets").exists()


@pytest.mark.parametrize("name", ["../sgl-launch-x", "other", "", "sgl-launch-x/../y"])
def test_a_scratch_folder_of_another_name_is_left_alone(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "sub"))
    for folder in ("sgl-launch-x", "y", "sub/other", "sub/sgl-launch-x"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (run.path / "scratch").write_text(name)
    clear(run)
    assert all((tmp_path / f).exists() for f in ("sgl-launch-x", "y", "sub/other", "sub/sgl-launch-x"))


def test_a_scratch_folder_that_is_a_link_is_left_alone(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "theirs" / "data").mkdir(parents=True)
    (tmp_path / "sgl-launch-x").symlink_to(tmp_path / "theirs")
    (run.path / "scratch").write_text("sgl-launch-x")
    clear(run)
    assert (tmp_path / "theirs" / "data").exists()


def test_an_agent_ends_its_own_way(run: RunFolder, start: Start, tmp_path: Path) -> None:
    """It has containers and folders to remove on its node, and does so without being asked."""
    body = f"trap 'touch {tmp_path}/termed' TERM; sleep 0.7; touch {tmp_path}/tidied"
    mark = {"LAUNCH_RUN": str(run.path)}
    start("bash", "-c", body, "node", "MARK", str(run.path), "scratch", env=mark)
    worker = start("sleep", "600", env=mark)
    time.sleep(0.2)
    assert [p.pid for p in end_leftovers(run, grace=0.5)] == [worker.pid]
    assert (tmp_path / "tidied").exists()
    assert not (tmp_path / "termed").exists()


# --- cancel -----------------------------------------------------------------------------------------------


def script(start: Start, run: RunFolder, body: str) -> subprocess.Popen[bytes]:
    """A run's script, with a worker in a session of its own."""
    worker = f"LAUNCH_RUN={run.path} setsid sleep 600 & echo $! decode-0 >>{run.path}/processes; "
    process = start("bash", "-c", worker + body)
    run.write_json("local.json", {"pid": process.pid, "start_time": start_time(process.pid)})
    end = time.monotonic() + 5
    while not (run.path / "processes").exists() and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.2)
    return process


WAITS = "while :; do sleep 0.1; done"


@pytest.mark.parametrize(
    ("body", "stopped", "said"),
    [
        (f"trap 'exit 143' TERM; {WAITS}", False, ""),
        (WAITS, True, "was stopped by a signal (SIGSTOP); it is killed"),
        (f"trap '' TERM; {WAITS}", False, "did not react within 1 s; it is killed"),
    ],
)
def test_cancel(
    cli: Cli, run: RunFolder, start: Start, monkeypatch: pytest.MonkeyPatch, body: str, stopped: bool, said: str
) -> None:
    monkeypatch.setattr("launcher.commands.cancel.PATIENCE", 1.0)
    process = script(start, run, body)
    if stopped:
        os.kill(process.pid, signal.SIGSTOP)
    worker = int((run.path / "processes").read_text().split()[0])
    assert look(worker)
    begin = time.monotonic()
    done = cli("cancel", "L1")
    assert (done.code, time.monotonic() - begin < 6) == (0, True), done.err
    assert said in done.err
    assert f"(pid {worker}), which was left" in done.err
    process.wait(1)
    assert gone(worker, 0.1)
    assert "ended: CANCELLED" in done.out or not said
    again = cli("cancel", "L1")
    assert (again.code, again.err) == (0, "")
    assert "had ended already" in again.out


def test_cancel_of_a_run_whose_script_was_killed(cli: Cli, run: RunFolder, start: Start) -> None:
    process = script(start, run, WAITS)
    process.kill()
    process.wait()
    worker = int((run.path / "processes").read_text().split()[0])
    done = cli("cancel", "L1")
    assert "had ended already: FAILED (killed: no exit status)" in done.out
    assert gone(worker, 0.1)


def test_cancel_believes_no_folder_of_another_user(
    cli: Cli, run: RunFolder, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who writes local.json could have anybody's process killed by that process's own user."""
    process = start("sleep", "600")
    run.write_json("local.json", {"pid": process.pid, "start_time": start_time(process.pid)})
    monkeypatch.setattr("launcher.run.folder.os.geteuid", lambda: os.getuid() + 1)
    by_path = cli("cancel", str(run.path))
    assert (by_path.code, by_path.err) == (
        2,
        f"sgl-launch: {run.path} belongs to another user, who alone can cancel it\n",
    )
    by_name = cli("cancel", "demo")
    assert by_name.code == 2
    assert "there are no runs in runs/ (1 run folder of other users is not shown)" in by_name.err
    assert is_alive(process.pid, start_time(process.pid))


def test_a_run_on_another_machine(cli: Cli, run: RunFolder) -> None:
    run.write_json("local.json", {"pid": os.getpid(), "start_time": start_time(os.getpid()), "host": "elsewhere"})
    assert "not known: it was started on elsewhere: ask there" in cli("status", "L1").out
    done = cli("cancel", "L1")
    assert (done.code, done.err) == (2, "sgl-launch: demo-L1 was started on elsewhere: cancel it there\n")


def test_a_slurm_job_whose_script_hangs(cli: Cli, run: RunFolder, programs: Path) -> None:
    (run.path.parent / "demo-17").mkdir()
    RunFolder(run.path.parent / "demo-17").add_event("nodes", "started")
    bodies = {
        "squeue": 'state=COMPLETING; [ ! -e killed ] || state=CANCELLED; echo "17|$state|N/A|N/A|None"',
        "sacct": "exit 1",
        "scancel": 'echo "$*" >>scancel.args; case "$*" in *KILL*) touch killed ;; esac',
    }
    for name, body in bodies.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    done = cli("cancel", "17", "--timeout", "4")
    assert (done.code, done.out) == (0, "demo-17 ended: CANCELLED\n")
    assert re.fullmatch(r"demo-17 is still COMPLETING after \d s; it is killed \(SIGKILL\)\n", done.err)
    assert Path("scancel.args").read_text() == "17\n--signal=KILL --full 17\n"
