"""Nodes for `preflight CONFIG`: a short job of its own, waited for and given back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from launcher.base.counting import counted
from launcher.base.errors import WorkError
from launcher.executors.sbatch import environment
from launcher.plan.model import Plan
from launcher.plan.slurm_options import sbatch_directives
from launcher.run.follow import queued_line
from launcher.run.slurm import slurm_state

TIME = "00:10:00"
# seconds between two questions to Slurm's controller, which is everyone's
ASK_EVERY = 2.0
# of sbatch's options, those that decide which nodes one gets; salloc has them too
WHERE = frozenset(
    """account constraint contiguous cpus-per-gpu cpus-per-task exclude exclusive gpus-per-node gres gres-flags
    licenses mem mem-per-cpu mem-per-gpu mincpus nodelist nodes ntasks-per-node oversubscribe partition prefer
    qos reservation segment sockets-per-node cores-per-socket threads-per-core switches tmp clusters wckey""".split()
)


@contextmanager
def allocation(plan: Plan, say: Callable[[str], None], timeout: float | None = None) -> Iterator[str]:
    """Nodes as the deployment would get, for a few minutes: the job's id.

    Says why the job waits. The nodes go back whatever happens. Raises WorkError when Slurm refuses,
    or has given no nodes after `timeout` seconds.
    """
    say(f"asking Slurm for {counted(plan.nodes + plan.spare_nodes, 'node')} for some seconds ...")
    ends = (signal.SIGTERM, signal.SIGHUP)  # neither must leave the nodes taken
    before = [signal.signal(one, _ended) for one in ends]
    try:
        with tempfile.TemporaryFile() as said, _salloc(plan, said.fileno()) as asked:
            try:
                _wait(asked, said.fileno(), say, timeout)
                yield job_in(_read(said.fileno())) or ""
            finally:
                if asked.poll() is None:
                    asked.terminate()
                if job_id := job_in(_read(said.fileno())):
                    subprocess.run(["scancel", job_id], stderr=subprocess.DEVNULL, check=False)
    finally:
        for one, handler in zip(ends, before, strict=True):
            signal.signal(one, handler)


def _salloc(plan: Plan, output: int) -> subprocess.Popen[bytes]:
    """Starts salloc; it ends once the job has its nodes."""
    name = f"--job-name={plan.config.name}-preflight"[:60]
    command = ["salloc", "--no-shell", name, f"--time={TIME}", *_where(plan)]
    try:
        env = environment(os.environ, plan.config.sbatch_options)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=output, env=env)
    except FileNotFoundError:
        raise WorkError(
            "there is no Slurm here (no salloc on PATH); --cluster local looks at this machine"
        ) from None


def _where(plan: Plan) -> list[str]:
    """salloc's options; a colon stands between those of two components."""
    words: list[str] = []
    own = {word for role in plan.config.roles for word in plan.config.slurm_of(role).options}
    for part in sbatch_directives(plan):
        words += [":"] if words else []
        words += [o for o in part if o.removeprefix("--").partition("=")[0] in WHERE or o in own]
    return words


def _wait(
    asked: subprocess.Popen[bytes], output: int, say: Callable[[str], None], timeout: float | None
) -> None:
    """Returns once salloc has got the nodes; says each new reason for which it has not."""
    begin, ask_at, queued = time.monotonic(), 0.0, ""
    while asked.poll() is None:
        time.sleep(0.1)
        job_id, now = job_in(_read(output)), time.monotonic()
        late = timeout is not None and now - begin > timeout
        if job_id and (late or now >= ask_at):
            state, ask_at = slurm_state(job_id), now + ASK_EVERY
            if state.state == "PENDING" and state.reason != queued:
                queued = state.reason
                say(queued_line(queued))
        if late and asked.poll() is None:
            why = f"job {job_id} waits for {queued or 'Slurm'}, and is cancelled" if job_id else "it says nothing"
            raise WorkError(f"Slurm gave no nodes within {timeout:g} s: {why}")
    if asked.returncode or not job_in(_read(output)):
        text = _read(output).strip()
        raise WorkError(f"Slurm gave no nodes: {text or f'exit status {asked.returncode}'}")
    if queued:
        say(f"{time.monotonic() - begin:8.1f} s  nodes        granted")


def job_in(text: str) -> str | None:
    """The job's id, once salloc has named it."""
    found = re.search(r"(?:Pending|Granted) job allocation (\d+)", text)
    return found[1] if found else None


def _read(file: int) -> str:
    """All that salloc has written; its own place in the file, which it shares, is not moved."""
    return os.pread(file, 1 << 20, 0).decode(errors="replace")


def _ended(number: int, frame: object) -> None:
    sys.exit(128 + number)
