"""Jobs and the states of nodes, as Slurm tells them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from .programs import Programs
from .state import RigError
from .waiting import wait_until

ENDED = frozenset(
    ["BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
     "PREEMPTED", "REVOKED", "TIMEOUT"]
)  # fmt: skip
"""The states that a job does not leave again by itself. (COMPLETING is none: its processes are
still being ended.)"""


class Jobs(Programs):
    """Submits, follows and cancels jobs."""

    def submit(
        self,
        script: str,
        *options: str,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> int:
        """sbatch a script and return the job's id. A first line `#!/bin/bash` is put before a
        script without one.

        Raises CalledProcessError when sbatch refuses it.
        """
        text = script if script.startswith("#!") else f"#!/bin/bash\n{script}\n"
        done = self.run(["sbatch", "--parsable", *options], input=text, env=env, cwd=cwd, check=True)
        return int(done.stdout.split(";")[0])

    def job(self, job: int) -> dict[str, str]:
        """What `scontrol show job` says of a job (of a heterogeneous one: of its first component).

        Raises KeyError when Slurm does not know the job (any more: it forgets after 300 s).
        """
        done = self.run(["scontrol", "--oneliner", "show", "job", str(job)])
        if done.returncode != 0 or not done.stdout.strip():
            if "Invalid job id" in done.stderr or done.returncode == 0:
                raise KeyError(job)
            raise RigError(f"scontrol show job {job}: {done.stderr.strip()}")
        fields = (word.partition("=") for word in done.stdout.splitlines()[0].split(" "))
        return {key: value for key, _, value in fields if key}

    def job_state(self, job: int) -> str:
        """RUNNING, COMPLETING, CANCELLED, ... Raises as job()."""
        return self.job(job)["JobState"]

    def wait_state(self, job: int, states: str | Sequence[str], timeout: float) -> str:
        """Wait until the job is in one of the states, and return which.

        timeout in seconds. Raises TimeoutError, or AssertionError as soon as the job has ended in
        another state.
        """
        wanted = {states} if isinstance(states, str) else set(states)

        def reached() -> str | None:
            state = self.job_state(job)
            if state in ENDED and state not in wanted:
                raise AssertionError(f"job {job} ended as {state}, not as {', '.join(sorted(wanted))}")
            return state if state in wanted else None

        try:
            return str(wait_until(reached, timeout, f"job {job} to be {', '.join(sorted(wanted))}"))
        except TimeoutError as error:
            now = self.job(job)
            raise TimeoutError(f"{error} (state {now['JobState']}, reason {now.get('Reason')})") from None

    def wait_job(self, job: int, timeout: float) -> str:
        """Wait until the job (every component of a heterogeneous one) has ended, and return its
        state.

        Then Slurm has ended its processes too. timeout in seconds. Raises TimeoutError.
        """

        def states() -> list[str]:
            out = self.run(["squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T"]).stdout.split()
            if not out:  # squeue does not tell a failure from nothing
                out = [self.job_state(job)]
            return out if all(state in ENDED for state in out) else []

        try:
            wait_until(states, timeout, f"the end of job {job}")
        except TimeoutError as error:
            now = self.job(job)
            raise TimeoutError(f"{error} (state {now['JobState']}, reason {now.get('Reason')})") from None
        return self.job_state(job)

    def unfinished_jobs(self) -> list[int]:
        """Ids of the jobs that are pending, running or completing."""
        out = self.run(["squeue", "--noheader", "--format=%A %T"], check=True).stdout
        return [int(line.split()[0]) for line in out.splitlines()]

    def cancel(self, *jobs: int) -> None:
        if jobs:
            self.run(["scancel", *map(str, jobs)], check=True)

    def node_states(self) -> dict[str, str]:
        """Slurm's state of each compute node: idle, allocated, mixed, completing, ...; with * it
        does not answer."""
        out = self.run(["sinfo", "--noheader", "--Node", "--format=%N %T"], timeout=15).stdout
        return dict(line.split() for line in out.splitlines() if line)

    def wait_node(self, node: str, state: str, timeout: float) -> None:
        """Wait until Slurm gives the node this state, say "idle" or "down*". Raises TimeoutError
        (seconds)."""
        self.address(node)
        wait_until(lambda: self.node_states().get(node) == state, timeout, f"{node} to be {state}")

    def wait_idle(self, timeout: float) -> None:
        """Wait until every compute node is idle. Raises TimeoutError (seconds), which lists those
        that are not."""
        states: dict[str, str] = {}

        def idle() -> bool:
            states.update(self.node_states())
            return len(states) == len(self.hosts) and set(states.values()) == {"idle"}

        try:
            wait_until(idle, timeout, "all nodes to be idle")
        except TimeoutError:
            busy = {name: states.get(name, "unknown") for name in self.hosts if states.get(name) != "idle"}
            raise TimeoutError(f"after {timeout:g} s not all nodes are idle: {busy}") from None
