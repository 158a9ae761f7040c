"""What Slurm says about jobs: squeue for those that its controller knows, sacct for older ones."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Container, Sequence

from launcher.base.errors import WorkError
from launcher.base.programs import MISSING, Asked, run_command
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
    """The state of each job, by id, asked in at most `limit` seconds (LIMIT); never raises. `cluster` is the one that
    has them, where it is not this machine's own; `recorded` are those whose end is known if squeue does not know them.
    squeue and sacct are asked once for all. A controller that hangs costs PATIENCE if the accounting knows the jobs."""
    wanted = [i for i in dict.fromkeys(job_ids) if i.isdecimal()]  # one that is no id would have all refused
    states = {i: JobState("UNKNOWN", f"{i!r} is no job id of Slurm", forgotten=True) for i in job_ids}
    if not wanted:
        return states
    limit = LIMIT if limit is None else limit
    deadline = time.monotonic() + limit
    where = ["-M", cluster] if cluster else []
    with contextlib.ExitStack() as asked:

        def ask(command: list[str], ids: list[str]) -> Asked:
            program = Asked([*command, *where, "-j", ",".join(ids)], environment())
            return asked.enter_context(contextlib.closing(program))

        squeue = ask(_SQUEUE, wanted)
        queue = squeue.answer(min(time.monotonic() + PATIENCE, deadline))
        found = _states_in(queue, "squeue")
        missing = [i for i in wanted if i not in found and i not in recorded]
        account = ask(_SACCT, missing).answer(deadline) if missing else None
        older = _states_in(account, "sacct")
        if queue is None:
            queue = squeue.answer(deadline if set(missing) - older.keys() else 0.0)
            found = _states_in(queue, "squeue")
    unknown = _unknown(queue, account, limit)
    return {**states, **dict.fromkeys(wanted, unknown), **older, **found}


def slurm_state(job_id: str, limit: float | None = None) -> JobState:
    """The state of one job; never raises."""
    return slurm_states([job_id], limit)[job_id]


def end_of(job_id: str, limit: float | None = None) -> float | None:
    """When Slurm ends a job, in seconds since the epoch; None where it has no limit. Raises WorkError where Slurm does
    not tell."""
    code, output = run_command(["squeue", "-h", "-j", job_id, "-o", "%e"], limit or LIMIT, environment())
    if code:
        raise WorkError(f"squeue: {' '.join(output.split())}")
    return seconds(output)


def seconds(text: str) -> float | None:
    """Since the epoch, of a time as Slurm writes it, alone in a line; None where there is none."""
    found = re.search(r"^\s*(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\s*$", text, re.M)
    return time.mktime(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) if found else None


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
    return visible(output.strip().rpartition("\n")[2].strip()) or "nothing"


def _states_in(answer: tuple[int, str] | None, source: str) -> dict[str, JobState]:
    return parse(answer[1], source) if answer and answer[0] == 0 else {}


def parse(output: str, source: str) -> dict[str, JobState]:
    """States by job id from lines of ID|STATE|START|LEFT|REASON (squeue) or ID|STATE (sacct, where `CANCELLED by 0`
    is CANCELLED). What a site's wrapper or plug-in prints beside them is left out. Slurm's programs print a line for
    each component of a heterogeneous job (12+0, 12+1), not the first one first."""
    components: dict[str, list[JobState]] = {}
    for line in output.splitlines():
        job_id, state, start, left, reason = [*line.strip().split("|", 4), "", "", "", ""][:5]
        word = state.split(" ")[0]
        if job_id[:1].isdigit() and re.fullmatch(r"[A-Z_]+", word):
            reason = "" if reason == "None" else visible(reason)
            one = JobState(word, reason, source, _known(start), _known(left))
            components.setdefault(job_id.partition("+")[0], []).append(one)
    return {job_id: _of_all(states) for job_id, states in components.items()}


def _known(time: str) -> str:
    return "" if time in ("N/A", "NOT_SET", "INVALID", "UNLIMITED") else time


def _of_all(components: list[JobState]) -> JobState:
    """The job's state: it has ended when all its components have; else that of one that has not, and of those one
    that says a reason. It starts with the last."""
    living = [c for c in components if not c.ended] or components[:1]
    chosen = next((c for c in living if c.reason), living[0])
    start, left = max((c.start, c.left) for c in living)
    return JobState(chosen.state, chosen.reason, chosen.source, start, left)
