"""Run the checks on the nodes: by srun in a job that is there or a short one of its own
(allocation.py), or here."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from launcher.base.errors import WorkError
from launcher.base.files import data_path
from launcher.base.words import quote
from launcher.config import Config
from launcher.containers import host_path
from launcher.executors.sbatch import environment
from launcher.plan.model import Cluster, Plan
from launcher.plan.portcheck import fixed_ports
from launcher.preflight.judge import Need

# By these workers use the NVLink between the nodes of a rack
MNNVL = ("NCCL_MNNVL_ENABLE", "MC_FORCE_MNNVL")
LIMIT = 120.0  # seconds, for what nodes are asked; a cold file system may take one minute


def script(config: Config) -> str:
    """The checks as bash, for each node."""
    image = config.container.image or ""
    model = host_path(config, config.model.path) if config.model.path.startswith("/") else None
    bare = config.container.runtime == "none"
    programs = ["apptainer"] if config.container.runtime == "apptainer" else []
    if bare and config.engine == "dynamo":
        programs = [config.python or "python3"]
    values = {
        "MODEL": str(model or ""),
        "IMAGE": image if image.startswith("/") else "",
        "INTERFACE": config.network.interface or "",
        "RUNS": str(Path(config.runs).absolute()),
        "PROGRAMS": " ".join(programs),
    }
    head = "\n".join(f"{name}={quote(value)}" for name, value in values.items())
    return f"{head}\n{(data_path('templates') / 'preflight.sh').read_text(encoding='utf-8')}"


def need(plan: Plan, cluster: Cluster, busy: bool = False) -> Need:
    """What the plan wants of each node. Without GPUs in the plan's engine none are needed."""
    gpus: dict[int, int] = {}
    ports: dict[int, dict[str, int]] = {}
    for group in plan.groups:
        for rank in group.ranks:
            at = 0 if cluster == "local" else rank.node
            gpus[at] = gpus.get(at, 0) + len(rank.gpus)
    for node, port, what in fixed_ports(plan):
        ports.setdefault(0 if cluster == "local" else node, {})[what] = port
    mocked = plan.config.engine == "mocker"
    nodes = 1 if cluster == "local" else plan.nodes
    env = {**plan.config.env, **{k: v for role in plan.config.roles.values() for k, v in role.env.items()}}
    imex = next((f"{name}: {env[name]}" for name in MNNVL if env.get(name, "0") not in ("", "0")), "")
    kinds = tuple(c.first for c in plan.components)
    return Need(nodes, {} if mocked else gpus, ports, busy, kinds, "" if mocked else imex)


def srun_words(plan: Plan, job_id: str, number: int, count: int, hosts: Sequence[str] = ()) -> list[str]:
    """Options of srun for one task a node of a job's component, beside what runs there."""
    tasks = [f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--mem=0"]
    where = [f"--nodelist={','.join(hosts)}"] if hosts else []
    kind = [f"--het-group={number}"] if plan.heterogeneous else []
    return [f"--jobid={job_id}", *kind, "--overlap", "--cpu-bind=none", *tasks, *where]


def gather(
    plan: Plan,
    cluster: Cluster,
    say: Callable[[str], None],
    job_id: str | None = None,
    hosts: Sequence[str] = (),
) -> str:
    """What the nodes said; `hosts` are those of a job by index. Raises WorkError when a part of them could
    not be asked."""
    body = script(plan.config)
    if cluster == "local":
        return _asked(["bash", "-c", body], say)
    assert job_id is not None
    said = ""
    for number, part in enumerate(plan.components):
        names = hosts[part.first : part.first + part.nodes]
        options = srun_words(plan, job_id, number, len(names) or part.nodes + plan.spare_nodes, names)
        said += _asked(["srun", *options, "bash", "-c", f"FIRST={part.first}\n{body}"], say)
    return said


def _asked(command: list[str], say: Callable[[str], None], limit: float = LIMIT) -> str:
    """What the nodes said within `limit` seconds: one may not answer, as when its file system hangs."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        try:
            env = environment(os.environ, ())  # --jobid names the job
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=env)
        except FileNotFoundError:
            message = "there is no Slurm here (no srun on PATH); --cluster local looks at this machine"
            raise WorkError(message) from None
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            say(f"not all nodes have answered within {limit:.0f} s")
        finally:
            end(process)
        output.seek(0)
        errors.seek(0)
        said, wrong = output.read(), errors.read()
    if "SGL_FACT" not in said:
        raise WorkError(f"no node could be asked: {wrong.strip() or f'exit status {process.returncode}'}")
    for line in wrong.splitlines():
        if "error" in line:
            say(line)
    return said


def end(process: subprocess.Popen[Any]) -> None:
    """End a command that may still run; srun waits for a node that is gone, unless it is killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
