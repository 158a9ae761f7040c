"""A job inside an allocation that one has already (salloc): its script runs here, its processes on those nodes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from launcher.base.errors import InputError
from launcher.base.processes import is_alive
from launcher.executors.local import start_script
from launcher.run.folder import RunFolder
from launcher.run.state import script_process


def allocation(environment: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """The Slurm job whose allocation this shell has, and its number of nodes; None outside of any."""
    job_id = environment.get("SLURM_JOB_ID", "")
    if not job_id.isdecimal():
        return None
    groups = environment.get("SLURM_HET_SIZE", "")
    names = (
        [f"SLURM_JOB_NUM_NODES_HET_GROUP_{n}" for n in range(int(groups))]
        if groups.isdecimal()
        else ["SLURM_JOB_NUM_NODES"]
    )
    counts = [environment.get(name, "") for name in names]
    return job_id, sum(int(count) for count in counts if count.isdecimal())


def start_here(runs: Path, name: str, script: str, nodes: int, env: Mapping[str, str]) -> RunFolder:
    """Start the script for the nodes of this shell's allocation. Raises InputError where there is none, where it is
    too small, and while a deployment of that name runs in it."""
    found = allocation()
    if found is None:
        raise InputError("--cluster here: this shell has no allocation of Slurm; get one with salloc first")
    job_id, has = found
    if has < nodes:
        raise InputError(f"--cluster here: the deployment takes {nodes} nodes, and allocation {job_id} has {has}")
    run = RunFolder(runs / f"{name}-{job_id}")
    run.path.mkdir(parents=True, exist_ok=True)
    if is_alive(*script_process(run)):
        raise InputError(f"{run.path.name} runs in this allocation already; cancel it first, or set another name")
    run.set_aside_older(time.time())  # an earlier one in the same allocation
    copy = run.path / "submitted.sh"
    copy.write_text(script, encoding="utf-8")
    # salloc's own is where salloc was called, and a relative `runs` is taken from here
    start_script(copy, run, {**env, "SLURM_SUBMIT_DIR": os.getcwd()})
    return run
