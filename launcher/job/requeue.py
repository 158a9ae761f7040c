"""Another try of a job, without the node that failed."""

from __future__ import annotations

import asyncio
import os
import re

from launcher.job.child import run_program
from launcher.job.journal import Journal
from launcher.run.slurm import environment

_LIMIT = 10.0  # seconds for each question to Slurm
_TRIES = 6
_UNFIT = re.compile(r"down|drain|fail|unk|no_respond|\*$")  # states of nodes that take no job


async def requeue(job_id: str, host: str, most: int, journal: Journal) -> None:
    """Slurm takes a node off the list of a job that waits, not of one that runs: hence held, changed, released."""
    if int(os.environ.get("SLURM_RESTART_COUNT") or 0) >= most:
        journal.say(f"it was requeued {most} times already (on_failure.max_requeues): no further try")
        return
    without, too_few = await _without(job_id, host)
    if too_few:
        journal.say(f"{too_few}: no further try")
        return
    journal.event("stop", "requeued", f"without {host}")
    if (await run_program(["scontrol", "requeuehold", job_id], _LIMIT))[0]:
        journal.say("Slurm refused to requeue the job")
        return
    for turn in range(_TRIES):
        code, said = await run_program(["scontrol", "update", f"JobId={job_id}", f"ExcNodeList={without}"], _LIMIT)
        if code == 0:
            break
        if turn == _TRIES - 1:
            journal.say(f"could not exclude {host}: {said.strip()}")
        await asyncio.sleep(0.5)
    await run_program(["scontrol", "release", job_id], _LIMIT)


async def _without(job_id: str, host: str) -> tuple[str, str]:
    """The nodes that the next try must do without (those that the job avoids already, too), and a sentence if the
    partition has too few others: Slurm would let the job wait for ever, and not say so. Nothing is said where Slurm
    does not tell."""
    code, said = await run_program(["scontrol", "show", "job", "-o", job_id], _LIMIT)
    jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in said.splitlines()] if code == 0 else []
    if len(jobs) != 1 or not jobs[0].get("NumNodes", "").partition("-")[0].isdecimal():
        return host, ""  # of several components each has its own list
    avoided, partition, wanted = jobs[0].get("ExcNodeList", ""), jobs[0].get("Partition", ""), jobs[0]["NumNodes"]
    without = host if avoided in ("", "(null)") else f"{avoided},{host}"
    _, names = await run_program(["scontrol", "show", "hostnames", without], _LIMIT)
    sinfo = ["sinfo", "--noheader", "--Node", f"--partition={partition}", "-o", "%N %T"]
    code, said = await run_program(sinfo, _LIMIT, environment())
    nodes = dict(words for line in said.splitlines() if len(words := line.split()) == 2) if code == 0 else {}
    left = [name for name, state in nodes.items() if name not in names.split() and not _UNFIT.search(state)]
    need = int(wanted.partition("-")[0])
    if nodes and len(left) < need:
        has = f"partition {partition} has {len(left)} usable nodes"
        return without, f"without {without}, {has} and the job needs {need}"
    return without, ""
