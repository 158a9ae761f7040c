"""sbatch's words: which options exist, which are ours, and how they stand in the script."""

from __future__ import annotations

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
    "gres": "set slurm.gpus_per_node and slurm.gpu_request: gres instead",
    "job-name": "set name instead",
    "output": "the job's output is in its run folder",
    "error": "the job's output is in its run folder",
    "array": "a job array of deployments is not supported; submit each",
    "wrap": "the script is made by sgl-launch",
    "parsable": "use `submit --parsable`",
    "test-only": "use `check`",
    "input": "the script reads nothing",
}


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
            message = f"not to be set here: {reason}"
        elif name in WHOLE_JOB and len(at) > 1:
            message = f"belongs to the whole job, not to the nodes of one role; set slurm.{key} instead"
        elif name not in SBATCH_OPTIONS:
            own = ["gpus_per_node", "gpu_request"]
            hint = nearest(name, [*SBATCH_OPTIONS, *own])
            message = f"not an option of sbatch{hint or '; see man sbatch for their long names'}"
        elif name in seen:
            message = f"{name} is given twice, in two spellings; keep one"
        elif isinstance(value, (dict, list)):
            message = "must be one value, or true for an option without one"
        elif isinstance(value, str) and any(ord(c) < 32 for c in value):
            message = "must be one line of text"
        else:
            seen.add(name)
            continue
        problems.append(source.problem(message, *at, key))
    return problems


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
    if slurm.gpu_request == "gpus-per-node":
        lines.append(f"--gpus-per-node={gpus}")
    elif slurm.gpu_request == "gres":
        lines.append(f"--gres=gpu:{gpus}")
    options = {n: v for n, v in slurm.options.items() if _given(v)}
    if component.first:
        earlier = plan.config.slurm_of(plan.components[0].roles[0]).options
        options = {n: v for n, v in options.items() if n not in WHOLE_JOB}
        options.update({n: "" for n in HANDED_ON if _given(earlier.get(n)) and n not in options})
    return lines + [_directive(n, v) for n, v in options.items()]


def _given(value: Any) -> bool:
    return value is not None and value is not False


def _directive(name: str, value: Any) -> str:
    return f"--{name}" if value is True else f"--{name}={value}"
