"""Slurm's word on a job that is not submitted: `sbatch --test-only`, and the time limit's spelling."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.base.errors import Problem
from launcher.check.findings import Finding
from launcher.config import Config, Source
from launcher.executors.refusal import AWAY, advice, key_about, refusal
from launcher.executors.sbatch import environment, said_of
from launcher.plan.slurm_options import is_given

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<rest>\d+(?::\d+){0,2})")


def minutes(text: object) -> float | None:
    """A time limit of sbatch in minutes; None for UNLIMITED. Raises ValueError for anything else.

    minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and
    days-hours:minutes:seconds are its spellings.
    """
    plain = str(text).strip()
    if plain.upper() in ("UNLIMITED", "INFINITE"):
        return None
    found = _TIME.fullmatch(plain)
    if not found:
        raise ValueError(plain)
    parts = [int(p) for p in found["rest"].split(":")]
    if found["days"] is None and len(parts) < 3:
        parts = [0, *parts]
    hours, mins, secs = [*parts, 0, 0][:3]
    return int(found["days"] or 0) * 1440 + hours * 60 + mins + secs / 60


def test_only(script: str, config: Config, source: Source) -> tuple[list[Finding], str]:
    """Ask sbatch whether it would take the config's script. Returns findings and a note for people; both
    are empty where there is no sbatch."""
    if shutil.which("sbatch") is None:
        return [], "no sbatch here: partition, account and node count were not checked"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.sh"
        path.write_text(script, encoding="utf-8")
        try:
            done = subprocess.run(
                ["sbatch", "--test-only", str(path)],
                capture_output=True, text=True, timeout=30, check=False,
                env=environment(os.environ, config.sbatch_options),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [], "sbatch --test-only did not answer within 30 s: partition and account were not checked"
    findings, note = judge(done.returncode, done.stdout + done.stderr, source, _roles(config))
    said = [Finding("warning", Problem(text)) for text in said_of(os.environ, config.sbatch_options)]
    return [*findings, *said], note


def _roles(config: Config) -> dict[str, dict[str, Any]]:
    return {name: role.own_slurm.given for name, role in config.roles.items() if role.own_slurm}


def judge(
    code: int, output: str, source: Source, roles: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[list[Finding], str]:
    """What sbatch --test-only said, as a finding at the key that it is about, or as a note. `roles` are the
    options that a role has of its own: a refusal that names one's value is about that."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if code == 0:
        said = next((line for line in lines if "to start at" in line), lines[-1] if lines else "")
        return [], f"Slurm would take it: {said.removeprefix('sbatch: ')}"
    said = refusal(output) or f"exit status {code}"
    if re.search(AWAY, said, re.I):
        return [], f"Slurm does not answer ({said[:90]}): partition, account and node count were not checked"
    option = key_about(output)
    keys = ("slurm", option) if option else ("slurm",)
    for role, options in (roles or {}).items():
        if option and str(options.get(option) or "\n") in said:
            keys = (role, *keys)
            break
    return [Finding("error", source.problem(f"Slurm would refuse the job: {said}{advice(said)}", *keys))], ""


# of sbatch's options, those by which a job gets more than one core a node
_CORES = ("exclusive", "cpus-per-task", "cpus-per-gpu", "mincpus", "cores-per-socket", "core-spec")


def share_note(config: Config) -> str:
    """What to say of a job that asks for GPUs and leaves cores and memory to sbatch's default; empty if it does not."""
    for role in config.roles:
        slurm = config.slurm_of(role)
        if config.engine == "mocker" or slurm.gpu_request == "none":
            continue
        if not any(is_given(slurm.given.get(name)) for name in _CORES):
            return (
                f"the job asks for {slurm.gpus_per_node} GPUs and one CPU core a node, unless the site gives cores "
                "with GPUs (DefCpuPerGPU): set slurm.exclusive: true, or slurm.cpus_per_task and slurm.mem"
            )
    return ""
