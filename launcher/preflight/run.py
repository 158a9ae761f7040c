"""Run the checks on the nodes: by srun in a job that is there or a short one of its own
(allocation.py), or here."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from launcher.config import Config
from launcher.containers import host_path
from launcher.errors import WorkError
from launcher.files import data_path
from launcher.plan import Cluster, Plan
from launcher.preflight.judge import Need
from launcher.render import fixed_ports
from launcher.words import quote


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
    return Need(nodes, {} if mocked else gpus, ports, busy)


def srun_command(count: int, job_id: str, hosts: Sequence[str] = ()) -> list[str]:
    """One task a node of a job, beside what runs there."""
    tasks = [f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--mem=0"]
    where = [f"--nodelist={','.join(hosts)}"] if hosts else []
    return ["srun", f"--jobid={job_id}", "--overlap", "--cpu-bind=none", *tasks, *where]


def gather(
    plan: Plan,
    cluster: Cluster,
    say: Callable[[str], None],
    job_id: str | None = None,
    hosts: Sequence[str] = (),
) -> str:
    """What the nodes said. Raises WorkError when no node could be asked."""
    body = script(plan.config)
    command = ["bash", "-c", body]
    if cluster == "slurm":
        assert job_id is not None
        command = [*srun_command(len(hosts) or plan.nodes + plan.spare_nodes, job_id, hosts), *command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise WorkError("there is no Slurm here (no srun on PATH); --cluster local looks at this machine") from None
    if "SGL_FACT" not in done.stdout:
        raise WorkError(f"no node could be asked: {done.stderr.strip() or f'exit status {done.returncode}'}")
    for line in done.stderr.splitlines():
        if "error" in line:
            say(line)
    return done.stdout
