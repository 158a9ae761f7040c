"""`sgl-launch attach JOB GROUP[:RANK]`: a shell beside a rank: on its node, in its container, inside the job."""

from __future__ import annotations

import os
import shlex

import click

from launcher.base.errors import InputError, WorkError
from launcher.commands.options import complete_group, complete_job, find_its_run
from launcher.run.folder import RunFolder
from launcher.run.target import refuse_ended

# In the namespaces and with the environment of a process of rank $2 (GROUP/RANK) of the run in $1 that has a container
# of the user's own (enroot, apptainer): `nsenter` may do that for the user's own processes.
ENTER = """pid= run=$1 rank=$2 && shift 2
for file in $(grep -lsz "^LAUNCH_RANK=[^/]*/$rank\\$" $(grep -lsFxz "RUN=$run" /proc/[0-9]*/environ)); do
  at=${file//[!0-9]/}
  [ "/proc/$at/ns/mnt" -ef /proc/self/ns/mnt ] || pid=$at
done
[ "$pid" ] || { echo "no container of $rank on $HOSTNAME" >&2; exit 1; }
while IFS= read -r -d "" set; do export "$set" 2>/dev/null; done <"/proc/$pid/environ"
[ "/proc/$pid/ns/user" -ef /proc/self/ns/user ] || own="--user --preserve-credentials"
exec nsenter --target "$pid" ${own:-} --mount "$@"
"""


@click.command("attach")
@click.argument("job", shell_complete=complete_job)
@click.argument("group", shell_complete=complete_group)
@click.option("--exec", "run_it", is_flag=True, help="Run it here instead of printing it.")
@click.option("-c", "--command", "words", default="bash", show_default=True, help="What to run there.")
@find_its_run
def command(run: RunFolder, group: str, run_it: bool, words: str) -> None:
    """Print the command that opens a shell beside GROUP[:RANK] (prefill-0:1): on its node, in its container."""
    refuse_ended(run)
    argv = attach_command(run, group, shlex.split(words))
    if not run_it:
        click.echo(shlex.join(argv))
        return
    try:
        os.execvp(argv[0], argv)
    except OSError as e:
        raise WorkError(f"{argv[0]}: {e.strerror}") from None


def attach_command(run: RunFolder, group: str, words: list[str]) -> list[str]:
    """The words of it. Raises InputError for a rank that the job does not have."""
    name, _, rank = group.partition(":")
    plan = run.plan()
    planned = plan.group(name)
    if planned is None:
        raise InputError(f"{run.path.name} has no group {name!r}; it has {', '.join(g.name for g in plan.groups)}")
    nodes = planned.nodes
    if rank and (not rank.isdecimal() or int(rank) >= len(nodes)):
        raise InputError(f"{name} has no rank {rank!r}; it has 0 to {len(nodes) - 1}")
    runtime = (plan.config.get("container") or {}).get("runtime", "none")
    if runtime == "docker":
        words = ["docker", "exec", "-it", f"sgl-launch-{run.job_id}-{name}-{int(rank or 0)}", *words]
    elif runtime != "none":
        words = ["bash", "-c", ENTER, "enter", str(run.path.absolute()), f"{name}/{int(rank or 0)}", *words]
    if plan.local:
        return words  # all its ranks are on this machine
    hosts = {n.index: n.host for n in run.nodes()}
    host = hosts.get(nodes[int(rank or 0)])
    if host is None:
        raise WorkError(f"{run.path.name} has no nodes yet")
    srun = ["srun", f"--jobid={run.job_id}", "--overlap", "--pty", f"--nodelist={host}", "--nodes=1", "--ntasks=1"]
    # a job of several components: which one the node belongs to
    kind = [n for n, c in enumerate(plan.components) if planned.role in c.roles]
    return [*srun, *(f"--het-group={n}" for n in kind), *words]
