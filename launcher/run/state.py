"""What state a job is in: from Slurm, from its process, or from what it recorded."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from launcher.base.errors import WorkError
from launcher.base.processes import is_alive
from launcher.base.terminal import visible
from launcher.run.folder import RunFolder
from launcher.run.history import History
from launcher.run.jobstate import JobState
from launcher.run.slurm import slurm_states


def is_local(run: RunFolder) -> bool:
    return (run.path / "local.json").exists()


def job_state(run: RunFolder, limit: float | None = None) -> JobState:
    """The job's state now, asked in at most `limit` seconds (LIMIT of launcher.run.slurm); never raises."""
    return job_states([run], limit)[0]


def job_states(runs: Sequence[RunFolder], limit: float | None = None) -> list[JobState]:
    """As job_state of each, but Slurm is asked once for all of them. Slurm forgets a job some minutes after its end;
    the run folder does not."""
    states = {run: _local_state(run) for run in runs if is_local(run)}
    ends = {run: History.of(run.events()).end for run in runs if run not in states}
    asked: dict[str, list[RunFolder]] = {}
    for run in ends:
        asked.setdefault(cluster_of(run), []).append(run)
    for cluster, some in asked.items():
        found = slurm_states([r.job_id for r in some], limit, cluster, {r.job_id for r in some if ends[r]})
        for run in some:
            state = found[run.job_id]
            states[run] = (ends[run] if state.state == "UNKNOWN" else None) or state
    return [states[run] for run in runs]


def cluster_of(run: RunFolder) -> str:
    """The Slurm cluster that the job was sent to with --clusters; empty for this machine's own."""
    return str((run.json("submit.json") or {}).get("slurm_cluster") or "")


def script_process(run: RunFolder) -> tuple[int, int | None]:
    """Pid and start time (clock ticks since boot) of a local run's script; pid 0 while it is not known."""
    process = run.json("local.json") or {}
    pid, started = process.get("pid"), process.get("start_time")
    return (pid, started) if isinstance(pid, int) and isinstance(started, int) and pid > 1 else (0, None)


def other_host(run: RunFolder) -> str:
    """The machine that a local run is on, if it is not this one."""
    host = (run.json("local.json") or {}).get("host")
    return visible(host) if isinstance(host, str) and host != socket.gethostname() else ""


def _local_state(run: RunFolder) -> JobState:
    host = other_host(run)
    if not host and is_alive(*script_process(run)):
        return JobState("RUNNING", "", "process")
    if end := History.of(run.events()).end:
        return end
    if host:
        return JobState("UNKNOWN", f"it was started on {host}: ask there")
    return JobState("FAILED", "killed: no exit status", "process")  # it was killed by force, and recorded nothing


def enter_network(run: RunFolder) -> None:
    """Take this process into the network that a job has to itself (frontend.port: unix). Raises WorkError where the job
    is another user's, or has ended."""
    from launcher.front.alone import enter

    pid, started = script_process(run)
    if not run.ours or other_host(run) or not is_alive(pid, started):
        raise WorkError(f"{run.path.name} is reached by its owner alone, on the machine where it runs")
    enter(pid)
