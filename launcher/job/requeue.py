"""Another try of a job, without the node that failed."""

from __future__ import annotations

import asyncio
import os

from launcher.job.child import run_program
from launcher.job.journal import Journal

_LIMIT = 10.0  # seconds for each question to Slurm
_TRIES = 6


async def requeue(job_id: str, host: str, most: int, journal: Journal) -> None:
    """Slurm takes a node off the list of a job that waits, not of one that runs: hence held, changed, released."""
    if int(os.environ.get("SLURM_RESTART_COUNT") or 0) >= most:
        journal.say(f"it was requeued {most} times already (on_failure.max_requeues): no further try")
        return
    journal.event("stop", "requeued", f"without {host}")
    if (await run_program(["scontrol", "requeuehold", job_id], _LIMIT))[0]:
        journal.say("Slurm refused to requeue the job")
        return
    for turn in range(_TRIES):
        code, said = await run_program(["scontrol", "update", f"JobId={job_id}", f"ExcNodeList={host}"], _LIMIT)
        if code == 0:
            break
        if turn == _TRIES - 1:
            journal.say(f"could not exclude {host}: {said.strip()}")
        await asyncio.sleep(0.5)
    await run_program(["scontrol", "release", job_id], _LIMIT)
