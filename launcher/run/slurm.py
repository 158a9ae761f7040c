"""What Slurm says about jobs: squeue for those that its controller knows, sacct for older ones."""

from __future__ import annotations

import os
import time
from collections.abc import Container, Sequence

from launcher.base.programs import MISSING, Asked
from launcher.base.terminal import visible
from launcher.run.jobstate import JobState

LIMIT = 10.0  # seconds for all that one question asks of Slurm
PATIENCE = 2.0  # seconds that squeue gets before sacct, which does not need the controller, is asked as well
# of squeue's fields: id, state, expected or real start, time left, reason (the last: it may have any character)
_SQUEUE = ["squeue", "-h", "--states=all", "-o", "%i|%T|%S|%L|%r"]
_SACCT = ["sacct", "-n", "-X", "-P", "-o", "jobid,state"]
# variables of the user's session that would leave out jobs or change the format
_FILTERS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SCONTROL_", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN")


def environment() -> dict[str, str]:
    """The environment for Slurm's programs: without what changes which jobs they speak of."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FILTERS)}


def slurm_states(
    job_ids: Sequence[str], limit: float | None = None, cluster: str = "", recorded: Container[str] = ()
) -> dict[str, JobState]:
    """The state of each job, by id, asked in at most `limit` seconds (LIMIT); never raises.

    `cluster` is the one that has them, where it is not this machine's own; `recorded` are those whose end is known
    if squeue does not know them.

    squeue and sacct are asked once for all. A controller that hangs costs PATIENCE if the accounting knows the jobs.
    """
    wanted = [i for i in dict.fromkeys(job_ids) if i.isdecimal()]  # one that is no id would have all refused
    states = {i: JobState("UNKNOWN", f"{i!r} is no job id of Slurm", forgotten=True) for i in job_ids}
    if not wanted:
        return states
    limit = LIMIT if limit is None else limit
    deadline = time.monotonic() + limit
    where = ["-M", cluster] if cluster else []
    squeue = Asked([*_SQUEUE, *where, "-j", ",".join(wanted)], environment())
    sacct: Asked | None = None
    try:
        queue = squeue.answer(min(time.monotonic() + PATIENCE, deadline))
        found = parse_squeue(queue[1]) if queue and queue[0] == 0 else {}
        missing = [i for i in wanted if i not in found and i not in recorded]
        account, older = None, {}
        if missing:
            sacct = Asked([*_SACCT, *where, "-j", ",".join(missing)], environment())
            account = sacct.answer(deadline)
            older = parse_sacct(account[1]) if account and account[0] == 0 else {}
        if queue is None:
            queue = squeue.answer(deadline if set(missing) - older.keys() else 0.0)
            found = parse_squeue(queue[1]) if queue and queue[0] == 0 else {}
        found = {**older, **found}
    finally:
        squeue.kill()
        if sacct:
            sacct.kill()
    unknown = _unknown(queue, account, limit)
    return {**states, **{i: found.get(i, unknown) for i in wanted}}


def slurm_state(job_id: str, limit: float | None = None) -> JobState:
    """The state of one job; never raises."""
    return slurm_states([job_id], limit)[job_id]


def _unknown(queue: tuple[int, str] | None, account: tuple[int, str] | None, limit: float) -> JobState:
    """Why a job's state is not known."""
    if queue is None:
        return JobState("UNKNOWN", f"Slurm did not answer within {limit:.3g} s")
    code, output = queue
    if code == MISSING:
        return JobState("UNKNOWN", output)
    said = f"squeue: {_last_line(output)}; sacct: {_last_line(account[1]) if account else 'no answer'}"
    return JobState("UNKNOWN", said, forgotten=code == 0 or "invalid job id" in output.lower())


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return visible(lines[-1].strip()) if lines else "nothing"


# Slurm's programs print a line for each component of a heterogeneous job (12+0, 12+1), not the first one first.


def parse_squeue(output: str) -> dict[str, JobState]:
    """States by job id from lines of ID|STATE|START|LEFT|REASON; what are no such lines is left out."""
    components: dict[str, list[JobState]] = {}
    for line in output.splitlines():
        job_id, state, start, left, reason = [*line.strip().split("|", 4), "", "", "", ""][:5]
        if _is_state(job_id, state):
            reason = "" if reason == "None" else visible(reason)
            one = JobState(state, reason, "squeue", _known(start), _known(left))
            components.setdefault(job_id.partition("+")[0], []).append(one)
    return {job_id: _of_all(states) for job_id, states in components.items()}


def parse_sacct(output: str) -> dict[str, JobState]:
    """States by job id from lines of ID|STATE; `CANCELLED by 0` is CANCELLED."""
    components: dict[str, list[JobState]] = {}
    for line in output.splitlines():
        job_id, _, state = line.strip().partition("|")
        if _is_state(job_id, state):
            components.setdefault(job_id.partition("+")[0], []).append(JobState(state.split()[0], "", "sacct"))
    return {job_id: _of_all(states) for job_id, states in components.items()}


def _is_state(job_id: str, state: str) -> bool:
    """Whether a line is one of ours, not what a site's wrapper or plug-in prints beside them."""
    word = state.split(" ")[0]
    return job_id[:1].isdigit() and word.isupper() and word.replace("_", "").isalpha()


def _known(time: str) -> str:
    return "" if time in ("N/A", "NOT_SET", "INVALID", "UNLIMITED") else time


def _of_all(components: list[JobState]) -> JobState:
    """The job's state: it has ended when all its components have; else that of one that has not, and of those one
    that says a reason. It starts with the last."""
    living = [c for c in components if not c.ended] or components[:1]
    chosen = next((c for c in living if c.reason), living[0])
    start, left = max((c.start, c.left) for c in living)
    return JobState(chosen.state, chosen.reason, chosen.source, start, left)
