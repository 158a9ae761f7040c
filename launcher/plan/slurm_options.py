"""sbatch's words: which options exist, which are ours, and how they stand in the script."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from launcher.base.errors import Problem
from launcher.base.suggest import nearest
from launcher.config import Config, Source
from launcher.config.allocation import RoleSlurm, Slurm
from launcher.plan.components import Component

if TYPE_CHECKING:
    from launcher.plan.model import Plan

# `sbatch --help` of Slurm 22.05 to 25.05
SBATCH_OPTIONS = frozenset(
    """account acctg-freq array batch bb bbf begin burst-buffer chdir cluster-constraint clusters
    comment constraint container container-id contiguous core-spec cores-per-socket cpu-freq
    cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution error exclude exclusive
    export export-file extra extra-node-info get-user-env gid gpu-bind gpu-freq gpus gpus-per-node
    gpus-per-socket gpus-per-task gres gres-flags hint hold ignore-pbs input job-name
    kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu
    mem-per-gpu mincpus network nice no-kill no-requeue nodefile nodelist nodes ntasks
    ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output overcommit
    oversubscribe parsable partition power prefer priority profile propagate qos quiet reboot
    requeue reservation resv-ports segment signal sockets-per-node spread-job stepmgr switches
    test-only thread-spec threads-per-core time time-min tmp tres-bind tres-per-task uid
    usage use-min-nodes verbose wait wait-all-nodes wckey wrap x11""".split()
)

# The plan decides these; the reason is what the user is told.
OWNED_OPTIONS = {
    "nodes": "follows from the workers and their sizes",
    "ntasks": "follows from the plan",
    "ntasks-per-node": "one rank of a worker group runs on each of its nodes",
    "gpus": "set slurm.gpus_per_node instead",
    "gpus-per-node": "set slurm.gpus_per_node instead",
    "job-name": "set name instead",
    "output": "the job's output is in its run folder",
    "error": "the job's output is in its run folder",
    "array": "a job array of deployments is not supported; submit each",
    "wrap": "the script is made by sgl-launch",
    "parsable": "use `submit --parsable`",
    "test-only": "use `check`",
    "input": "the script reads nothing",
}

# A list of the config is one of theirs, with commas.
LISTS = frozenset(
    "clusters exclude gres licenses mail-type nodelist partition prefer profile reservation tres-bind".split()
)
_GPU_GRES = re.compile(r"(?<![\w:/])(?:gres[/:])?gpu(?::(?P<type>[A-Za-z][\w.+-]*))?(?::(?P<number>\d+))?(?![\w:])")

# They hold for a heterogeneous job as a whole: only its first component has them in the script.
WHOLE_JOB = frozenset(
    """acctg-freq batch bb bbf begin burst-buffer chdir cluster-constraint clusters comment deadline
    delay-boot dependency export export-file get-user-env gid hold ignore-pbs kill-on-invalid-dep
    licenses mail-type mail-user mcs-label nice no-kill no-requeue open-mode priority propagate quiet
    reboot requeue signal stepmgr time time-min uid verbose wait wait-all-nodes wckey x11""".split()
)

# Slurm hands them on from the first component to the second unless that has its own: an empty one will do.
HANDED_ON = ("exclude", "reservation")


def slurm_problems(config: Config, source: Source) -> list[Problem]:
    """Mistakes in the `slurm` mapping and in those of the roles."""
    problems = _mapping_problems(config.slurm, source, "slurm")
    for name, role in config.roles.items():
        if role.own_slurm:
            problems += _mapping_problems(role.own_slurm, source, name, "slurm")
    return problems


def _mapping_problems(mapping: Slurm | RoleSlurm, source: Source, *at: str) -> list[Problem]:
    problems = []
    seen: set[str] = set()
    for key, value in (mapping.__pydantic_extra__ or {}).items():
        name = key.replace("_", "-")
        if name in OWNED_OPTIONS:
            reason = OWNED_OPTIONS[name].replace("slurm.", f"{'.'.join(at)}.")
            message = f"can't be set here: {reason}"
        elif name in WHOLE_JOB and len(at) > 1:
            message = f"belongs to the whole job, not to the nodes of one role; set slurm.{key} instead"
        elif name not in SBATCH_OPTIONS:
            own = ["gpus_per_node", "gpu_request", "gpu_type", "options"]
            word = f"--{name}" if value is True else f"--{name}={value}"
            others = "; see man sbatch for their long names"
            if len(name) > 1:
                others += f". One of the site's own: {'.'.join(at)}.options: [{word!r}]"
            message = f"not an option of sbatch{nearest(name, [*SBATCH_OPTIONS, *own]) or others}"
        elif name in seen:
            message = f"{name} is given twice, in two spellings; keep one"
        elif isinstance(value, dict) or (isinstance(value, list) and not _is_list(name, value)):
            message = "must be one value, or true for an option without one"
        elif isinstance(value, str) and any(ord(c) < 32 for c in value):
            message = "must be one line of text"
        else:
            seen.add(name)
            continue
        problems.append(source.problem(message, *at, key))
    for word in mapping.options or []:
        name = word.removeprefix("--").partition("=")[0]
        if not re.fullmatch(r"--[A-Za-z][\w-]*(=.*)?", word):
            message = f"{word!r}: write an option as one word, --NAME or --NAME=VALUE"
        elif name in OWNED_OPTIONS:
            message = f"{word!r}: can't be set: {OWNED_OPTIONS[name].replace('slurm.', '.'.join(at) + '.')}"
        elif name in SBATCH_OPTIONS:
            key = f"{'.'.join(at)}.{name.replace('-', '_')}"
            message = f"{word!r} is an option of sbatch's own: write it as a key, {key}"
        else:
            continue
        problems.append(source.problem(message, *at, "options"))
    return problems + _gres_problems(mapping, source, at)


def _is_list(name: str, value: list[Any]) -> bool:
    return name in LISTS and all(type(item) in (str, int) for item in value)


def _gres_problems(mapping: Slurm | RoleSlurm, source: Source, at: tuple[str, ...]) -> list[Problem]:
    gres, wanted = mapping.given.get("gres"), mapping.gpus_per_node
    for found in _GPU_GRES.finditer(_joined(gres)) if is_given(gres) else ():
        if wanted and int(found["number"] or 1) != wanted:
            message = f"{found[0]} asks for {found['number'] or 1} GPUs a node, and gpus_per_node is {wanted}"
            return [source.problem(f"{message}; make them equal", *at, "gres")]
        if mapping.gpu_type and found["type"] != mapping.gpu_type:
            message = f"{found[0]} and gpu_type: {mapping.gpu_type} differ; leave one of them out"
            return [source.problem(message, *at, "gres")]
    return []


def sbatch_directives(plan: Plan) -> list[list[str]]:
    """The `#SBATCH` options of each component of a plan's job, each one word as sbatch spells it."""
    parts = [_component_directives(plan, component) for component in plan.components]
    parts[0].insert(0, f"--job-name={plan.config.name}")
    return parts


def _component_directives(plan: Plan, component: Component) -> list[str]:
    lines = [f"--nodes={component.nodes + plan.spare_nodes}", "--ntasks-per-node=1"]
    if plan.spare_nodes:
        lines.append("--no-kill")
    slurm = plan.config.slurm_of(component.roles[0])
    gpus = max(g for group in plan.groups if group.role in component.roles for g in group.gpus) + 1
    options = {n: v for n, v in slurm.given.items() if is_given(v)}
    gres = _joined(options.pop("gres")) if "gres" in options else ""
    typed = f"{slurm.gpu_type}:{gpus}" if slurm.gpu_type else str(gpus)
    if _GPU_GRES.search(gres):
        pass  # it says all about GPUs itself
    elif slurm.gpu_request == "gpus-per-node":
        lines.append(f"--gpus-per-node={typed}")
    elif slurm.gpu_request == "gres":
        gres = f"gpu:{typed},{gres}" if gres else f"gpu:{typed}"
    if gres:
        lines.append(f"--gres={gres}")
    if component.first:
        earlier = plan.config.slurm_of(plan.components[0].roles[0]).given
        options = {n: v for n, v in options.items() if n not in WHOLE_JOB}
        options.update({n: "" for n in HANDED_ON if is_given(earlier.get(n)) and n not in options})
    return [*lines, *(_directive(n, v) for n, v in options.items()), *slurm.options]


def is_given(value: Any) -> bool:
    """Of an option's value in a config."""
    return value is not None and value is not False


def _directive(name: str, value: Any) -> str:
    return f"--{name}" if value is True else f"--{name}={_joined(value)}"


def _joined(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def sbatch_quoted(word: str) -> str:
    """A directive as sbatch reads it: as a shell would, but a backslash is an escape in quotes too."""
    return shlex.quote(word).replace("\\", "\\\\")
