"""`sgl-launch cancel JOB`: end it, and see that it has ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import click

from launcher.base.errors import InputError, WorkError
from launcher.base.processes import is_alive, start_time
from launcher.base.programs import run_command
from launcher.commands.options import complete_job, runs_option
from launcher.run.folder import RunFolder, find_run, find_runs
from launcher.run.state import is_local, job_state, job_states


@click.command("cancel")
@click.argument("job", shell_complete=complete_job)
@click.option("--timeout", type=float, default=60, show_default=True, metavar="SECONDS")
@runs_option
def command(job: str, timeout: float, runs: Path) -> None:
    """End JOB (an id, a name or a run folder) and everything it started."""
    run = find_run(job, runs)
    if job == run.name:
        living = _living(job, runs)
        if len(living) > 1:
            ids = ", ".join(r.job_id for r in living)
            raise InputError(f"{len(living)} runs named {job!r} have not ended: {ids}; which one?")
        run = living[0] if living else run  # a newer one of the name may have ended before it
    state = job_state(run)
    if state.ended:
        click.echo(f"{run.path.name} had ended already: {state}")
        _kill_leftovers(run)
        return
    if is_local(run):
        process = run.json("local.json") or {}
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(int(process["pid"]), signal.SIGTERM)
    else:
        code, output = run_command(["scancel", run.job_id])
        if code:
            raise WorkError(f"scancel {run.job_id}: {output.strip()}")
    deadline = time.monotonic() + timeout
    while not (state := job_state(run)).ended:
        if state.state == "UNKNOWN":
            break  # Slurm has forgotten it already
        if time.monotonic() > deadline:
            raise WorkError(f"{run.path.name} still is {state.state} {timeout:.0f} s after it was told to end")
        time.sleep(0.1 if is_local(run) else 1)  # Slurm's controller is everyone's
    _kill_leftovers(run)
    click.echo(f"{run.path.name} ended: {state}")


def _living(name: str, runs: Path) -> list[RunFolder]:
    """The runs of a name that are known not to have ended: of one whose script was killed, Slurm may
    have forgotten how."""
    named = [r for r in find_runs(runs) if r.name == name]
    states = job_states(named)
    return [r for r, s in zip(named, states, strict=True) if not s.ended and s.state != "UNKNOWN"]


def _kill_leftovers(run: RunFolder) -> None:
    """End what a job whose script was killed left: its keys, and a local job's process groups."""
    shutil.rmtree(run.path / "secrets", ignore_errors=True)
    if not is_local(run):
        return
    began = (run.json("local.json") or {}).get("start_time") or 0
    try:
        lines = (run.path / "processes").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        pid = int(line.split()[0])
        started = start_time(pid)
        # the same pid may belong to somebody else by now: ours leads its group and is younger
        if started is None or started < began or not _in_run(pid, run):
            continue
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            if os.getpgid(pid) != pid:
                continue
            deadline = time.monotonic() + 2
            os.killpg(pid, signal.SIGTERM)
            while is_alive(pid, started):
                time.sleep(0.05)
                if time.monotonic() > deadline:
                    os.killpg(pid, signal.SIGKILL)
        click.echo(f"killed {line.split()[1]} (pid {pid}), which was left", err=True)


def _in_run(pid: int, run: RunFolder) -> bool:
    """Whether the process belongs to this run: its job id is in its environment."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"SGL_JOB_ID={run.job_id}".encode() in environment
