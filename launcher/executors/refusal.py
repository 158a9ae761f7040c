"""sbatch's refusals: what it said in one line, and the key of `slurm` that this is about."""

from __future__ import annotations

import re
import shlex

from launcher.base.terminal import visible

# a word of sbatch's refusal -> the key that is about it
_ABOUT = (
    ("accounting/qos policy", ""),  # which of many limits, Slurm does not say
    ("account", "account"),  # of which Slurm says "account/partition"
    ("qos", "qos"),
    ("partition", "partition"),
    ("time limit", "time"),
    ("reservation", "reservation"),
    ("constraint", "constraint"),
    ("feature", "constraint"),
    ("gres", "gpus_per_node"),
    ("gpu", "gpus_per_node"),
    ("memory", "mem"),
    ("node count", "partition"),
    ("node configuration", "gpus_per_node"),
)


# Slurm's programs are here, but no controller answers, or none is configured
AWAY = r"contact.*controller|Connection refused|timed out|failed to fetch config|establish_config_source|fetch_config"


# the controller got the job, perhaps: its answer did not come
NO_ANSWER = r"timed out|Zero Bytes were transmitted|Unexpected message|send/recv|Connection reset"


def refusal(output: str) -> str:
    """sbatch's output in one line, each thing once; empty if it said nothing.

    Its warnings and notes are left out where it named an error.
    """
    lines = [visible(line.strip()) for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line or "failure" in line]
    return "; ".join(dict.fromkeys(re.sub(r"^(sbatch: )?(error: )?", "", line) for line in errors or lines))


def key_about(said: str) -> str:
    """The key of `slurm` that a refusal is about; empty where that is not clear."""
    lower = said.lower()
    return next((key for word, key in _ABOUT if word in lower), "")


def refused(output: str, name: str = "", failed: bool = True) -> str:
    """The message for a job that sbatch did not take, or may have taken: `name` is the job's, `failed` whether sbatch
    ended with an error."""
    said = refusal(output)
    if not failed:
        return may_exist(f"sbatch printed no job id{f' but {said[:90]!r}' if said else ''}", name)
    if re.search(NO_ANSWER, said, re.I):
        return may_exist(f"Slurm did not answer ({said[:90]})", name)
    if re.search(AWAY, said, re.I):
        return f"Slurm does not answer ({said[:90]}); --cluster local runs it on this machine"
    key = key_about(said)
    look = f"; look at slurm.{key}" if key else ""
    if "node configuration" in said.lower():
        look += ", and at how many nodes the workers take (`sgl-launch plan`)"
    return f"sbatch refused the job: {said or 'it did not say why'}{look}"


def may_exist(said: str, name: str) -> str:
    """The message for a job of which sbatch told neither its id nor that there is none."""
    look = f"squeue --me --name={shlex.quote(name)}"
    return f"{said}: the job may have been submitted all the same; `{look}` shows it. Look before you submit again"
