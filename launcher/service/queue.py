"""What a service asks of Slurm: one more job, which are there, when one would start, how long this one may run."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from launcher.base.errors import WorkError
from launcher.base.programs import run_command
from launcher.run.folder import RunFolder
from launcher.run.slurm import environment, seconds

LIMIT = 20.0  # seconds for an answer
SUBMIT = 150.0  # and for a job's plan, its checks and its sbatch
PIECE = "sgl-launch-piece="  # begins the comment of a job whose workers join those of the run folder that follows
SCALE = "scale.json"  # in a link's run folder: how many worker groups the next one has


def comment(runs: Path, name: str) -> str:
    """Of the service's jobs: what tells them from the user's other jobs, those of a like service in another folder
    too."""
    return f"sgl-launch-service={name}@{runs}"


def options(runs: Path, name: str, after: str = "") -> list[str]:
    """sbatch's options of a link; `after` is the job whose failure it waits for."""
    wait = [f"--dependency=afternotok:{after}", "--kill-on-invalid-dep=yes"] if after else []
    return [f"--comment={comment(runs, name)}", *wait]


def more_options(run: RunFolder) -> list[str]:
    """What else the user gave sbatch for this link."""
    given = [str(one) for one in (run.json("submit.json") or {}).get("options") or ()]
    return [one for one in given if not one.startswith(("--comment=", "--dependency=", "--kill-on-invalid-dep="))]


def submit(
    config: Path, runs: Path, name: str, after: str = "", sets: Sequence[str] = (), more: Sequence[str] = ()
) -> str:
    """Queue one more job of a service, with the config of a run folder; returns its id. Raises WorkError."""
    return submit_as(config, (f"runs={runs}", *sets), (*options(runs, name, after), *more))


def submit_as(config: Path, sets: Sequence[str], given: Sequence[str]) -> str:
    """Queue a job with the config of a run folder and these options of sbatch; returns its id. Raises WorkError."""
    words = [sys.executable, "-m", "launcher.cli", "submit", str(config), "--no-check", "--parsable",
             *(f"--set={one}" for one in sets), "--", *given]  # fmt: skip
    code, output = run_command(words, SUBMIT)
    found = re.search(r"^(\d+)(;\S+)?$", output.strip(), re.M)
    if code or found is None:
        raise WorkError(f"the job could not be queued: {' '.join(output.split())[-300:]}")
    return found[1]


def submit_next(run: RunFolder, after: bool = True) -> str:
    """Queue one more like this link, which waits for its failure if it is to come `after` it. Raises WorkError."""
    before = run.job_id if after else ""
    sets = [f"{role}.workers={count}" for role, count in (run.json(SCALE) or {}).items()]
    return submit(run.path / "effective.yaml", run.path.parent, run.name, before, sets, more_options(run))


def queued(runs: Path, name: str) -> list[str]:
    """Ids of the service's jobs and of their pieces that Slurm has not ended, the newest first. Raises WorkError."""
    said = re.escape(comment(runs, name)), re.escape(f"{PIECE}{runs}/{name}-") + r"\d+"
    return queued_as("|".join(said))


def queued_as(pattern: str) -> list[str]:
    """Ids of the jobs with such a comment that Slurm has not ended, the newest first. Raises WorkError."""
    output = ask("squeue", "--me", "-h", "-o", "%i|%k")
    pairs = [line.strip().partition("|") for line in output.splitlines()]
    ids = {job.partition("+")[0] for job, _, said in pairs if re.fullmatch(pattern, said)}
    return sorted(ids, key=int, reverse=True)


def wait_for_room(run: RunFolder) -> float:
    """Seconds until a job like that of this run folder would start, as Slurm expects now; 0 where it does not say."""
    try:
        said = ask("sbatch", "--test-only", *more_options(run), str(run.path / "job.sh"))
    except WorkError:
        return 0.0
    found = re.search(r"to start at (\S+)", said)
    start = seconds(found[1]) if found else None
    return max(start - time.time(), 0.0) if start else 0.0


def ask(*words: str) -> str:
    """What one of Slurm's programs says. Raises WorkError."""
    code, output = run_command(list(words), LIMIT, environment())
    if code:
        raise WorkError(f"{words[0]}: {' '.join(output.split())}")
    return output
