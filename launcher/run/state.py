"""What state a job is in: from Slurm (squeue, else scontrol, else sacct), or from its process."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.base.processes import is_alive
from launcher.run.folder import Event, RunFolder

# squeue(1), JOB STATE CODES: those that a job does not leave again by itself
ENDED = frozenset(
    """BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED
    RECONFIG_FAIL REVOKED TIMEOUT""".split()
)


@dataclass(frozen=True)
class JobState:
    """`state` is Slurm's word for it, for a local job too, `UNKNOWN` if nobody can tell; `reason` is
    Slurm's reason, a local job's exit status, or why it is unknown; `source` is who said so."""

    state: str
    reason: str = ""
    source: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def __str__(self) -> str:
        """As people see it: `FAILED (exit status 1)`."""
        return f"{self.state} ({self.reason})" if self.reason else self.state


def is_local(run: RunFolder) -> bool:
    return (run.path / "local.json").exists()


def job_state(run: RunFolder) -> JobState:
    """The job's state now; never raises."""
    if is_local(run):
        return _local_state(run)
    state = slurm_state(run.job_id)
    # Slurm forgets a job some minutes after its end, the run folder does not
    return state if state.state != "UNKNOWN" else recorded_end(run.events()) or state


def job_states(runs: Sequence[RunFolder]) -> list[JobState]:
    """As job_state of each, but squeue and sacct are asked once for all of them; never raises."""
    waiting = [r.job_id for r in runs if not is_local(r)]
    known, said = _ask_once("squeue", ["--states=all", "-h", "-o", "%i|%T|%r"], waiting)
    ends = {r.path: end for r in runs if r.job_id not in known and (end := recorded_end(r.events()))}
    forgotten = [r.job_id for r in runs if not is_local(r) and r.job_id not in known and r.path not in ends]
    older, more = _ask_once("sacct", ["-n", "-X", "-P", "-o", "jobid,state"], forgotten)
    unknown = JobState("UNKNOWN", "; ".join(filter(None, (said, more))))
    return [
        _local_state(r) if is_local(r) else known.get(r.job_id) or ends.get(r.path) or older.get(r.job_id, unknown)
        for r in runs
    ]


def _ask_once(program: str, options: list[str], job_ids: Sequence[str]) -> tuple[dict[str, JobState], str]:
    """States by job id, of those that the program knows; and what it said instead of others'."""
    job_ids = [i for i in job_ids if i.isdecimal()]  # one that is none would have all refused
    if not job_ids:
        return {}, ""
    code, output = run_command([program, *options, "-j", ",".join(dict.fromkeys(job_ids))])
    found = parse_states(output, program) if code == 0 else {}
    return found, f"{program}: {(output.strip().splitlines() or ['nothing'])[-1] if code else 'nothing'}"


def _local_state(run: RunFolder) -> JobState:
    process = run.json("local.json") or {}
    if is_alive(int(process.get("pid", 0)), process.get("start_time")):
        return JobState("RUNNING", "", "process")
    # a script that was killed by force has recorded nothing
    return recorded_end(run.events()) or JobState("FAILED", "killed: no exit status", "process")


def recorded_end(events: Sequence[Event]) -> JobState | None:
    """How the job ended, by its script's last event, in Slurm's words; None if that is no end."""
    last = events[-1] if events else None
    if last is None or (last.stage, last.state) != ("stop", "done"):
        return None
    status = re.fullmatch(r"exit status (\d+)", last.detail)
    if any(e.state == "cancelled" for e in events):
        return JobState("CANCELLED", "", "events")
    if status and int(status[1]) == 0:
        return JobState("COMPLETED", "", "events")
    return JobState("FAILED", last.detail, "events")


def slurm_state(job_id: str) -> JobState:
    """Ask Slurm about a job; never raises."""
    said = []
    for source, command, parse in (
        ("squeue", ["squeue", "-h", "-j", job_id, "-o", "%T|%r"], parse_squeue),
        ("scontrol", ["scontrol", "-o", "show", "job", job_id], parse_scontrol),
        ("sacct", ["sacct", "-n", "-X", "-P", "-j", job_id, "-o", "state"], parse_sacct),
    ):
        code, output = run_command(command)
        state = parse(output) if code == 0 else None
        if state:
            return JobState(state.state, state.reason, source)
        said.append(f"{source}: {output.strip().splitlines()[-1] if output.strip() else 'nothing'}")
    return JobState("UNKNOWN", "; ".join(said))


# Slurm's tools print a line for each component of a heterogeneous job, squeue not the first one first.


def parse_squeue(output: str) -> JobState | None:
    """Output of `squeue -h -o '%T|%r'`; None for a job that it does not know."""
    lines = (line.partition("|") for line in output.strip().splitlines())
    return _of_all([_state(state, reason) for state, bar, reason in lines if bar])


def parse_scontrol(output: str) -> JobState | None:
    """Output of `scontrol -o show job`."""
    lines = (dict(w.split("=", 1) for w in line.split() if "=" in w) for line in output.splitlines())
    return _of_all([_state(f["JobState"], f.get("Reason", "None")) for f in lines if "JobState" in f])


def parse_sacct(output: str) -> JobState | None:
    """Output of `sacct -n -X -P -o state`; `CANCELLED by 0` is CANCELLED."""
    words = [line.split()[0] for line in output.splitlines() if line.strip()]
    return _of_all([JobState(word) for word in words if word.isupper()])


def _state(state: str, reason: str) -> JobState:
    return JobState(state, "" if reason == "None" else reason)


def _of_all(components: list[JobState]) -> JobState | None:
    """The job's state: it has ended when all its components have; else that of one that has not, and
    of those one that says a reason."""
    living = [c for c in components if not c.ended] or components[:1]
    return next((c for c in living if c.reason), living[0]) if living else None


def parse_states(output: str, source: str) -> dict[str, JobState]:
    """Lines of ID|STATE or ID|STATE|REASON, as squeue and sacct are told to write them; 12+1 is a component of 12."""
    components: dict[str, list[JobState]] = {}
    for line in output.splitlines():
        job_id, state, reason = [*line.strip().split("|", 2), "", ""][:3]
        if state[:1].isupper():
            # sacct: `CANCELLED by 0`
            one = JobState(state.split()[0], "" if reason == "None" else reason, source)
            components.setdefault(job_id.partition("+")[0], []).append(one)
    return {job_id: whole for job_id, states in components.items() if (whole := _of_all(states))}


def expectations(job_id: str) -> dict[str, str]:
    """When squeue expects the job to start, and how much of its time is left; without what it does
    not know. Times are its own texts (2026-11-23T12:00:00, 1-02:03:04)."""
    code, output = run_command(["squeue", "-h", "-j", job_id, "-o", "%S|%L"])
    return parse_expectations(output) if code == 0 else {}


def parse_expectations(output: str) -> dict[str, str]:
    """Output of `squeue -h -o '%S|%L'`; of several components, the one that starts last."""
    start, _, left = max(output.strip().splitlines(), default="").partition("|")
    found = {"start": start.strip(), "left": left.strip()}
    return {k: v for k, v in found.items() if v and v not in ("N/A", "NOT_SET", "INVALID", "UNLIMITED")}


def run_command(command: list[str], timeout: float = 15) -> tuple[int, str]:
    """Exit status and output (stderr's too when it failed); 127 when the program is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError:
        return 127, f"{command[0]} is not on PATH"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not answer within {timeout:.0f} s"
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr
