"""Run the checks on the nodes: by srun in a job that is there or a short one of its own, or here."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from launcher.config import Config
from launcher.containers import host_path
from launcher.errors import WorkError
from launcher.files import data_path
from launcher.plan import Cluster, Plan
from launcher.preflight.judge import Need
from launcher.render import fixed_ports
from launcher.slurm_options import sbatch_directives
from launcher.words import quote

TIME = "00:10:00"
# of sbatch's options, those that decide which nodes one gets; srun has them too
WHERE = frozenset(
    """account constraint cpus-per-task exclude exclusive gpus-per-node gres licenses mem nodelist nodes
    ntasks-per-node partition prefer qos reservation segment switches clusters wckey""".split()
)


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
    return Need(nodes, {} if mocked else gpus, ports, busy, tuple(c.first for c in plan.components))


def srun_words(plan: Plan, job_id: str, number: int, count: int, hosts: Sequence[str] = ()) -> list[str]:
    """Options of srun for one task a node of a job's component, beside what runs there."""
    tasks = [f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--mem=0"]
    where = [f"--nodelist={','.join(hosts)}"] if hosts else []
    kind = [f"--het-group={number}"] if plan.heterogeneous else []
    return [f"--jobid={job_id}", *kind, "--overlap", "--cpu-bind=none", *tasks, *where]


def _where(plan: Plan) -> list[str]:
    """salloc's options; a colon stands between those of two components."""
    words: list[str] = []
    for part in sbatch_directives(plan):
        words += [":"] if words else []
        words += [o for o in part if o.removeprefix("--").partition("=")[0] in WHERE]
    return words


@contextmanager
def allocation(plan: Plan, say: Callable[[str], None]) -> Iterator[str]:
    """Nodes as the deployment would get, for a few minutes: the job's id. They go back whatever happens."""
    say(f"asking Slurm for {plan.nodes + plan.spare_nodes} nodes for some seconds ...")
    name = f"--job-name={plan.config.name}-preflight"[:60]
    command = ["salloc", "--no-shell", name, f"--time={TIME}", *_where(plan)]
    try:
        asked = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise WorkError("there is no Slurm here (no salloc on PATH); --cluster local looks at this machine") from None
    job_id, said = None, ""
    before = signal.signal(signal.SIGTERM, _ended)  # a TERM must not leave the nodes taken
    try:
        assert asked.stderr is not None
        for line in asked.stderr:
            said += line
            found = re.search(r"(?:Pending|Granted) job allocation (\d+)", line)
            job_id = found[1] if found else job_id
        if asked.wait() or job_id is None:
            raise WorkError(f"Slurm gave no nodes: {said.strip() or f'exit status {asked.returncode}'}")
        yield job_id
    finally:
        if asked.poll() is None:
            asked.terminate()
        if job_id is not None:
            subprocess.run(["scancel", job_id], stderr=subprocess.DEVNULL, check=False)
        signal.signal(signal.SIGTERM, before)


def _ended(number: int, frame: object) -> None:
    sys.exit(128 + number)


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


def _asked(command: list[str], say: Callable[[str], None]) -> str:
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
