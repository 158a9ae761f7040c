"""sbatch's refusals: what it said in one line, and the key of `slurm` that this is about."""

from __future__ import annotations

import re
import shlex

from launcher.base.programs import run_command
from launcher.base.terminal import visible
from launcher.run.slurm import environment

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
    ("gpu type", "gpu_type"),
    ("gres", "gpus_per_node"),
    ("gpu", "gpus_per_node"),
    ("memory", "mem"),
    ("license", "licenses"),
    ("burst buffer", "bb"),
    ("dependency", "dependency"),
    ("entry for --cluster", "clusters"),
    ("node count", "partition"),
    ("node configuration", "gpus_per_node"),
)


# Slurm's programs are here, but no controller answers, or none is configured
AWAY = r"contact.*controller|Connection refused|timed out|failed to fetch config|establish_config_source|fetch_config"


# the controller got the job, perhaps: its answer did not come
NO_ANSWER = r"timed out|Zero Bytes were transmitted|Unexpected message|send/recv|Connection reset"


# what Slurm adds when a plug-in of the site has refused: the reason is in the plug-in's words
_GENERIC = re.compile(r"^(Batch job submission failed: |allocation failure: )?Unspecified error$")


def refusal(output: str) -> str:
    """sbatch's output in one line, each thing once; empty if it said nothing. Its warnings and notes are left out where
    it named an error."""
    return "; ".join(_named_errors(output) or _lines(output))


def key_about(output: str) -> str:
    """The key of `slurm` that a refusal is about; empty where that is not clear: where no line is marked as the
    error, a note of the site about something else must not be taken for it."""
    lower = "; ".join(_named_errors(output)).lower()
    return next((key for word, key in _ABOUT if word in lower), "")


def _lines(output: str) -> list[str]:
    lines = [visible(line.strip()) for line in output.splitlines() if line.strip()]
    plain = dict.fromkeys(re.sub(r"^(sbatch: )?(error: )?", "", line) for line in lines)
    own = [line for line in plain if not _GENERIC.search(line)]
    return own or list(plain)


def _named_errors(output: str) -> list[str]:
    marked = [line for line in output.splitlines() if re.search(r"error|failure", line, re.I)]
    return [line for line in _lines("\n".join(marked)) if not _GENERIC.search(line)]


def advice(said: str) -> str:
    """What the cluster has in place of what it refused, with a semicolon before it; empty where that is not known.
    Asks Slurm."""
    lower = said.lower()
    if "generic resource" in lower or "gpu type" in lower or "node configuration" in lower:
        code, output = run_command(["sinfo", "-h", "-o", "%G"], 5, environment())
        found = sorted({part.partition("(")[0] for part in re.split(r"[,\s]+", output) if part.startswith("gpu")})
        if code == 0 and not found:
            return "; this cluster hands out GPUs without GRES: set slurm.gpu_request: none"
        return f"; this cluster has {', '.join(found)}" if found else ""
    if "invalid partition" in lower:
        code, output = run_command(["sinfo", "-h", "-o", "%R"], 5, environment())
        return f"; your cluster has: {', '.join(sorted(set(output.split())))}" if code == 0 and output.split() else ""
    return ""


def refused(output: str, name: str = "", failed: bool = True) -> str:
    """The message for a job that sbatch did not take, or may have taken: `name` is the job's, `failed` whether sbatch
    ended with an error."""
    said = refusal(output)
    if not failed:
        return may_exist(f"sbatch printed no job id{f' but {said[:90]!r}' if said else ''}", name)
    if re.search(NO_ANSWER, said, re.I):
        return may_exist(f"Slurm did not answer ({said[:90]})", name)
    if re.search(AWAY, said, re.I):
        return f"Slurm does not answer ({said[:90]}); `sgl-launch submit --cluster local` runs it on this machine"
    key = key_about(output)
    there = advice(said)
    look = f"; look at slurm.{key}" if key and "gpu_request" not in there else ""
    if "node configuration" in said.lower():
        look += ", and at how many nodes the workers take (`sgl-launch plan`)"
    return f"sbatch refused the job: {said or 'it did not say why'}{there}{look}"


def may_exist(said: str, name: str) -> str:
    """The message for a job of which sbatch told neither its id nor that there is none."""
    look = f"squeue --me --name={shlex.quote(name)}"
    return f"{said}: the job may have been submitted all the same; `{look}` shows it. Look before you submit again"
