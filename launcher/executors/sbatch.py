"""sbatch's words and its answer: what may be handed on to it, and which job it has made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from launcher.base.errors import InputError
from launcher.plan.slurm_options import OWNED_OPTIONS, SBATCH_OPTIONS

# beside what the plan decides: what would keep `submit` from coming back
OWNED = {
    **OWNED_OPTIONS,
    "gres": "set slurm.gpus_per_node and slurm.gpu_type, or slurm.gres, instead",
    "wait": "use `submit --wait done`",
}
# of those that a config may set, what contradicts the plan's own numbers, or each other, when a session sets it
_TASKS = "gpus-per-task gpus-per-socket ntasks-per-gpu ntasks-per-core ntasks-per-socket tres-per-task".split()
_ONE_OF = (("mem", "mem-per-cpu", "mem-per-gpu"), ("exclusive", "oversubscribe"))
# sbatch(1): the letters of owned options, and those without a value, which may stand together in one word
_LETTERS = {
    "a": "array", "J": "job-name", "N": "nodes", "n": "ntasks", "o": "output", "e": "error", "i": "input",
    "G": "gpus", "W": "wait",
}  # fmt: skip
_WITHOUT_VALUE = "HhIkKOQsvVW"
# sbatch(1), INPUT ENVIRONMENT VARIABLES: where SBATCH_<NAME> is not its option's own name
_VARIABLES = {
    "array-inx": "array", "timelimit": "time", "req-switch": "switches", "wait4switch": "switches",
    "mem-per-node": "mem", "segment-size": "segment", "debug": "verbose",
}  # fmt: skip
# of the SLURM_ variables, those that say where Slurm is; the others are of a job that one submits from
_KEPT = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"}
_ID = re.compile(r"(\d+)(;[\w.-]+)?")
_SENTENCE = re.compile(r"Submitted batch job (\d+)(?: on cluster ([\w.-]+))?")


def check_options(words: Sequence[str]) -> None:
    """Raises InputError for an option that the plan decides, and for a word that sbatch would take as the script."""
    before = ""
    for word in words:
        for name in _names(word):
            if name in OWNED:
                raise InputError(f"sbatch option {word}: can't be set: {OWNED[name].replace('slurm.', '--set slurm.')}")
        # `:` stands between the components of a heterogeneous job
        if not word.startswith("-") and word != ":" and (not before.startswith("-") or "=" in before):
            raise InputError(f"{word!r} after -- is no option of sbatch; only its options can stand there")
        before = word


def _names(word: str) -> Iterator[str]:
    """The long names of the options in a word: --array=0-1, --arr, -a0-1, -Ha."""
    if word.startswith("--"):
        name = word[2:].partition("=")[0]
        yield from [name] if name in SBATCH_OPTIONS else (o for o in OWNED if name and o.startswith(name))
    elif word.startswith("-"):
        for letter in word[1:]:
            if letter in _LETTERS:
                yield _LETTERS[letter]
            if letter not in _WITHOUT_VALUE:
                break


def environment(variables: Mapping[str, str], config_sets: Sequence[str]) -> dict[str, str]:
    """The environment for sbatch, which the job inherits, and for salloc: without variables that would win over the
    script's own options (`config_sets`, and those that the plan decides), and without those of a job that one submits
    from."""
    return {name: value for name, value in variables.items() if not _is_left_out(name, config_sets)}


def _is_left_out(name: str, config_sets: Sequence[str]) -> bool:
    if option := _option_of(name):
        return option in OWNED or bool(_instead_of(option, config_sets))
    return name.startswith(("SLURM_", "SRUN_")) and name not in _KEPT


def _instead_of(option: str, config_sets: Sequence[str]) -> str:
    """The key of the config that holds in place of a session's option; empty if there is none."""
    if option in _TASKS and option not in config_sets:
        return "gpus_per_node"
    rivals = next((group for group in _ONE_OF if option in group), (option,))
    return next((key for key in (option, *rivals) if key in config_sets), "")


def _option_of(name: str) -> str:
    """The option that a variable of sbatch's or salloc's sets; empty for other variables."""
    program, _, option = name.partition("_")
    if name == "SLURM_CLUSTERS":
        return "clusters"
    if program not in ("SBATCH", "SALLOC"):
        return ""
    option = option.lower().replace("_", "-")
    return _VARIABLES.get(option, option)


def said_of(variables: Mapping[str, str], config_sets: Sequence[str]) -> list[str]:
    """What to tell the user of sbatch's variables in the environment: those that have no effect, and those that
    change the job though the config does not name them."""
    said = []
    for name in sorted(name for name in variables if name.startswith("SBATCH_") or name == "SLURM_CLUSTERS"):
        option, value = _option_of(name), variables[name]
        if not option or option in ("export", "quiet", "verbose", "wait", "parsable", "no-requeue", "requeue"):
            continue
        if key := _instead_of(option, config_sets):
            said.append(f"{name}={value} in your environment has no effect: the config sets slurm.{key}")
        elif option in OWNED:
            said.append(f"{name}={value} in your environment has no effect: --{option} can't be set: {OWNED[option]}")
        elif option in SBATCH_OPTIONS:
            said.append(
                f"{name} in your environment sets --{option}={value} for this job; unset it, or set slurm.{option}"
            )
    return said


def job_in(output: str) -> str:
    """ID or ID;CLUSTER in what `sbatch --parsable` printed, whatever a wrapper or plug-in printed beside it; empty
    if there is none."""
    lines = [line.strip() for line in output.splitlines()]
    for line in lines:
        if _ID.fullmatch(line):
            return line
    for line in lines:
        if sentence := _SENTENCE.search(line):
            return sentence[1] + (f";{sentence[2]}" if sentence[2] else "")
    return ""
