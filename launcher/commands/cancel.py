"""`sgl-launch cancel JOB`: end it, and see that it has ended."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from pathlib import Path

import click

from launcher.base.errors import InputError, WorkError
from launcher.base.processes import is_alive, look, send
from launcher.base.programs import run_command
from launcher.commands.options import complete_job, runs_option
from launcher.run.find import find_run, look_up
from launcher.run.folder import RunFolder
from launcher.run.history import History
from launcher.run.jobstate import JobState
from launcher.run.leftovers import clear, end_leftovers, leftovers
from launcher.run.slurm import environment
from launcher.run.state import cluster_of, is_local, job_state, job_states, other_host, script_process

STORAGE = 5.0  # seconds for the folder of runs to answer
PATIENCE = 5.0  # seconds in which a local run's script must show that it ends
KILL_WAIT = 45.0  # seconds after which Slurm itself should have killed the job: its KillWait is 30 s


@click.command("cancel")
@click.argument("job", shell_complete=complete_job)
@click.option(
    "--timeout", type=float, default=60, show_default=True, metavar="SECONDS", help="Give up or use force after this."
)
@runs_option
def command(job: str, timeout: float, runs: Path) -> None:
    """End JOB (an id, a name or a run folder) and everything it started."""
    run = _find(job, runs)
    if not run.ours:
        raise InputError(f"{run.path} belongs to another user, who alone can cancel it")
    if host := other_host(run):
        raise InputError(f"{run.path.name} was started on {host}: cancel it there")
    if job == run.name:
        living = _living(job, runs)
        if len(living) > 1:
            ids = ", ".join(r.job_id for r in living)
            raise InputError(f"{len(living)} runs named {job!r} have not ended: {ids}; which one?")
        run = living[0] if living else run  # a newer one of the name may have ended before it
    state = job_state(run)
    if state.ended:
        click.echo(f"{run.path.name} had ended already: {state}")
        if is_local(run):
            _end_the_rest(run)
    else:
        state = _end_local(run, timeout) if is_local(run) else _end_slurm(run, timeout)
        click.echo(f"{run.path.name} ended: {state}")
    if not is_local(run):
        shutil.rmtree(run.path / "secrets", ignore_errors=True)


def _find(job: str, runs: Path) -> RunFolder:
    """The run. Where the folder of runs hangs, a job that is named by its number is ended all the same."""
    found: list[RunFolder | Exception] = []

    def look() -> None:
        try:
            run = find_run(job, runs)
            run.events()
            found.append(run)
        except Exception as e:  # raised below
            found.append(e)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(STORAGE)
    if not found and not job.isdecimal():
        raise WorkError(f"{runs}/ does not answer; a job of Slurm can be ended by its number: sgl-launch cancel NUMBER")
    if not found:
        _scancel(job)
        raise WorkError(f"Slurm was told to end job {job}; how it ends is not known, since {runs}/ does not answer")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _living(name: str, runs: Path) -> list[RunFolder]:
    """The runs of a name that are known not to have ended: of one whose script was killed, Slurm may
    have forgotten how."""
    named = [r for r in look_up(runs).runs if r.name == name]
    states = job_states(named)
    return [r for r, s in zip(named, states, strict=True) if not s.ended and s.state != "UNKNOWN"]


def _end_local(run: RunFolder, timeout: float) -> JobState:
    """Ask the run's script to end all; kill it if it does not react, and whatever is left then."""
    pid, started = script_process(run)
    begin, events, processes = time.monotonic(), len(run.events()), len(leftovers(run))
    send(pid, started, signal.SIGTERM)
    while is_alive(pid, started):
        waited = time.monotonic() - begin
        process = look(pid)
        if process and process.state in "Tt":
            _kill(run, "was stopped by a signal (SIGSTOP)")
        elif waited > timeout:
            _kill(run, f"had not ended after {timeout:g} s")
        elif waited > PATIENCE and len(run.events()) == events and len(leftovers(run)) >= processes:
            _kill(run, f"did not react within {PATIENCE:g} s")
        else:
            time.sleep(0.1)
    _end_the_rest(run)
    return job_state(run)


def _kill(run: RunFolder, why: str) -> None:
    """Kill a run's script, and record what it can't record itself any more."""
    pid, started = script_process(run)
    click.echo(f"the script of {run.path.name} (pid {pid}) {why}; it is killed", err=True)
    send(pid, started, signal.SIGKILL)
    deadline = time.monotonic() + 1
    while is_alive(pid, started) and time.monotonic() < deadline:
        time.sleep(0.02)
    if is_alive(pid, started):
        raise WorkError(f"pid {pid} can't be killed: it hangs in the kernel, often on storage that does not answer")
    run.add_event(History.of(run.events()).stage, "cancelled", f"killed: its script {why}")
    run.add_event("stop", "done", "exit status 137")


def _end_the_rest(run: RunFolder) -> None:
    """End what a local run's script has left behind."""
    for process in end_leftovers(run):
        click.echo(f"ended {process.name} (pid {process.pid}), which was left", err=True)
    clear(run)


def _scancel(job_id: str, *options: str) -> None:
    code, output = run_command(["scancel", *options, job_id], env=environment())
    if code:
        raise WorkError(f"scancel {job_id}: {output.strip()}")


def _end_slurm(run: RunFolder, timeout: float) -> JobState:
    """Have Slurm end the job; by force if its script hangs."""
    where = ["-M", cluster] if (cluster := cluster_of(run)) else []
    _scancel(run.job_id, *where)
    begin, forced = time.monotonic(), False
    while not (state := job_state(run)).ended and not state.forgotten:
        waited = time.monotonic() - begin
        if waited > timeout:
            how = f"is still {state}" if state.state != "UNKNOWN" else f"may not have ended ({state.reason})"
            raise WorkError(f"{run.path.name} {how} {timeout:.0f} s after it was told to end")
        if not forced and waited > min(KILL_WAIT, timeout * 0.75):
            forced = True
            click.echo(f"{run.path.name} is still {state} after {waited:.0f} s; it is killed (SIGKILL)", err=True)
            with contextlib.suppress(WorkError):  # it may have ended just now
                _scancel(run.job_id, *where, "--signal=KILL", "--full")
        time.sleep(1)  # Slurm's controller is everyone's
    return state
