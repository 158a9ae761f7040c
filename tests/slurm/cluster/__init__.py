"""A real Slurm cluster of virtual nodes on this one machine, for tests; README.md tells more.

>>> with Cluster.up(nodes=6) as cluster:
...     job = cluster.submit("srun hostname", "-N2", "--ntasks-per-node=1")
...     assert cluster.wait_job(job, timeout=20) == "COMPLETED"
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess, Popen, TimeoutExpired
from typing import IO, Any, TypeVar

from . import config
from .config import CONTROLLER, LOGIN
from .namespaces import popen_in
from .procfs import Listener, Process, read_listeners, read_processes
from .state import (
    DEFAULT_BASE,
    HERE,
    RigError,
    environment,
    has_freezer,
    new_state_folder,
    pid_of,
    why_not,
    write_files,
    write_pyxis,
)

__all__ = [
    "CONTROLLER",
    "DEFAULT_BASE",
    "LOGIN",
    "Cluster",
    "Listener",
    "Process",
    "RigError",
    "live_clusters",
    "wait_until",
    "why_not",
]

ENDED = frozenset(
    ["BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
     "PREEMPTED", "REVOKED", "TIMEOUT"]
)  # fmt: skip
"""The states that a job does not leave again by itself. (COMPLETING is none: its processes are
still being ended.)"""

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float, what: str, every: float = 0.05) -> T:
    """Call condition until it is true, and return what it returned. timeout and every in seconds.

    Raises TimeoutError, which says what was waited for and what the condition returned last.
    """
    end = time.monotonic() + timeout
    while True:
        last = condition()
        if last:
            return last
        if time.monotonic() >= end:
            raise TimeoutError(f"waited {timeout:g} s for {what}; last seen: {last!r}")
        time.sleep(every)


def live_clusters() -> list[Cluster]:
    """The clusters that this process brought up and that are still up."""
    return [cluster for cluster in _live if cluster.is_up]


class Cluster:
    """A Slurm cluster whose nodes are namespaces of this machine. Made by Cluster.up or
    Cluster.attach.

    Besides the compute nodes there are the nodes `login` (where clients run) and `ctl` (slurmctld).
    Each node has its own host name, address, loopback, processes, /tmp and /dev/shm (login and ctl
    see the machine's /tmp). Outside /tmp all nodes see the machine's own file system.
    """

    hosts: dict[str, str]
    """Name to address of each compute node, in the order of definition."""
    gpus: int
    """GPUs of the compute node that has most; they are fake (clones of /dev/null), but Slurm hands them out."""
    share: Path
    """A folder that is the same on every node, also when it lies below /tmp; where programs run
    unless told."""
    state: Path
    """All files of the cluster; `state / "log"` has its daemons' logs."""
    has_pyxis: bool
    """Whether sbatch and srun take pyxis's --container-* options (they start no container)."""
    has_accounting: bool
    """Whether sacct works."""
    tracks_processes: bool
    """Whether Slurm finds the processes of a job that left their session and parent
    (proctrack/cgroup)."""

    # --- up and down ---

    @classmethod
    def up(
        cls,
        nodes: int = 6,
        gpus: int | Sequence[int] = 8,
        *,
        names: Sequence[str] | None = None,
        accounting: bool = False,
        extra_conf: str = "",
        topology_conf: str = "",
        kill_wait: int = 5,
        slurmd_timeout: int = 6,
        cpus: int = 16,
        memory_mb: int = 256_000,
        state: str | os.PathLike[str] | None = None,
        share: str | os.PathLike[str] | None = None,
        detached: bool = False,
    ) -> Cluster:
        """Bring a cluster up; it returns when every node is idle.

        nodes: how many, called n001, n002, ...; not used when names are given.
        gpus: of each node; or a number for each of `names`.
        names: Slurm host expressions, each one NodeName line of slurm.conf in this order:
            ["n[001-003]", "gpu-a[7,9]"].
        accounting: with slurmdbd, so that sacct works (takes some 2 s more).
        extra_conf: lines for slurm.conf; they win over the rig's own.
        topology_conf: topology.conf, for a TopologyPlugin in extra_conf.
        kill_wait: seconds from SIGTERM to SIGKILL when a job is cancelled or over time.
        slurmd_timeout: seconds of silence after which a node is down.
        cpus, memory_mb: what each node pretends to have; cpus must be even.
        state: folder for all files; what is in it is deleted. Default: a new one below
            <repository>/.slurm-test, or below $SLURM_TEST_DIR, deleted by down().
        share: the folder to be seen at the same path by all nodes; it must exist. Default: `share`
            in the state folder.
        detached: the cluster outlives this process. Else it ends with this process, however that
            dies.

        Raises RigError when it does not come up, with the reason; ValueError at bad names.
        """
        reason = why_not()
        if reason is not None:
            raise RigError(reason)
        if cpus < 2 or cpus % 2:
            raise ValueError(f"cpus must be even, not {cpus}")
        expressions = list(names) if names is not None else [f"n[{1:03d}-{nodes:03d}]"]
        if names is None and nodes < 1:
            raise ValueError("a cluster needs at least one node")
        hosts = config.assign_addresses(expressions)
        gpus_of = [gpus] * len(expressions) if isinstance(gpus, int) else list(gpus)

        own_state = state is None
        folder = new_state_folder() if state is None else Path(state).absolute()
        if pid_of(folder) is not None:
            raise RigError(f"a cluster is already up in {folder}")
        if not own_state:
            shutil.rmtree(folder, ignore_errors=True)
        for below in ("log", "ctl/state", "node", "munge", "dev", "etc/plugstack.conf.d", "share"):
            (folder / below).mkdir(parents=True, exist_ok=True)
        share_folder = Path(share).absolute() if share is not None else folder / "share"
        if not share_folder.is_dir():
            raise ValueError(f"the share {share_folder} is no folder")

        proctrack = "cgroup" if has_freezer() else "linuxproc"
        facts = {
            "hosts": hosts,
            "gpus": max(gpus_of),
            "share": str(share_folder),
            "has_accounting": accounting,
            "tracks_processes": proctrack == "cgroup",
            "has_pyxis": write_pyxis(folder),
        }
        slurm_conf = config.slurm_conf(
            expressions,
            gpus=gpus_of,
            cpus=cpus,
            memory_mb=memory_mb,
            kill_wait=kill_wait,
            slurmd_timeout=slurmd_timeout,
            proctrack=proctrack,
            accounting=accounting,
            extra=extra_conf,
        )
        conf = {"slurm.conf": slurm_conf, "gres.conf": config.gres_conf(expressions, gpus_of)}
        write_files(folder, facts, {**conf, "topology.conf": topology_conf}, proctrack)

        with open(folder / "log/cluster.log", "wb") as log:
            mode = "detached" if detached else "attached"
            supervisor = Popen(
                ["unshare", "--mount", "--propagation", "private", HERE / "supervise.sh", folder, mode],
                stdin=DEVNULL if detached else PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment(),
            )
        cluster = cls(folder, supervisor, delete=own_state)
        try:
            cluster._start_daemons(accounting)
        except BaseException as error:
            logs = cluster._last_errors()
            cluster._delete = False  # the logs say why
            cluster.down()
            if isinstance(error, (TimeoutError, TimeoutExpired, OSError)):
                raise RigError(f"the cluster did not come up ({error}); logs are in {folder}/log\n{logs}") from error
            raise
        if not detached:
            _live.add(cluster)
        return cluster

    @classmethod
    def attach(cls, state: str | os.PathLike[str]) -> Cluster:
        """The cluster that another process brought up in this state folder. Raises RigError when
        none is up there."""
        folder = Path(state).absolute()
        if pid_of(folder) is None:
            raise RigError(f"no cluster is up in {folder}")
        return cls(folder, None, delete=False)

    def __init__(self, state: Path, supervisor: Popen[bytes] | None, *, delete: bool) -> None:
        """For up and attach only."""
        facts = json.loads(state.joinpath("cluster.json").read_text())
        self.state = state
        self.hosts = facts["hosts"]
        self.gpus = facts["gpus"]
        self.share = Path(facts["share"])
        self.has_accounting = facts["has_accounting"]
        self.has_pyxis = facts["has_pyxis"]
        self.tracks_processes = facts["tracks_processes"]
        self._delete = delete
        self._supervisor = supervisor
        self._children: list[Popen[str]] = []
        self._owner = os.getpid()
        if supervisor is not None and supervisor.stdin is not None:  # not a detached one
            self._at_exit = weakref.finalize(self, _end, supervisor, self._children, self._owner)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def is_up(self) -> bool:
        return pid_of(self.state) is not None

    def down(self) -> None:
        """End every process of the cluster and remove what it left; quietly does nothing when it is
        down already.

        Raises RigError when something did not end within 20 s.
        """
        if os.getpid() != self._owner:
            return  # a fork of the process that has the cluster
        _live.discard(self)
        if self._supervisor is not None:
            _end(self._supervisor, self._children, self._owner)
        else:
            for child in self._children:
                _kill_group(child)
            try:
                pid = int(self.state.joinpath("supervisor.pid").read_text())
            except FileNotFoundError:
                pid = 0
            if pid and pid_of(self.state) is not None:
                os.kill(pid, signal.SIGTERM)
                gone = self.state / "supervisor.pid"
                try:
                    wait_until(lambda: not gone.exists(), 20, "the cluster's end")
                except TimeoutError as error:
                    raise RigError(str(error)) from error
        if self._delete:
            shutil.rmtree(self.state, ignore_errors=True)

    def _start_daemons(self, accounting: bool) -> None:
        up = self.state / "fabric.up"
        supervisor = self._supervisor
        assert supervisor is not None

        def fabric_is_up() -> bool:
            if supervisor.poll() is not None:
                raise OSError("the namespaces could not be made")
            return up.exists()

        wait_until(fabric_is_up, 30 + len(self.hosts) / 5, "the nodes' start", every=0.01)
        if accounting:
            self._start_accounting()
        self.ctld_start()
        self.wait_idle(timeout=30 + len(self.hosts) / 2)

    def _start_accounting(self) -> None:
        script = f"""
            set -e
            mkdir -p /run/mysqld {config.RIG}/ctl/mysql
            cd {config.RIG}/ctl
            mariadb-install-db --no-defaults --user=root --datadir=$PWD/mysql --skip-test-db \\
                --auth-root-authentication-method=socket > ../log/mysql-install.log 2>&1
            setsid mariadbd --no-defaults --user=root --datadir=$PWD/mysql --skip-networking \\
                --socket=/run/mysqld/mysqld.sock --pid-file=$PWD/mysql.pid \\
                --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \\
                --innodb-flush-log-at-trx-commit=2 --performance-schema=off \\
                < /dev/null > ../log/mysql.log 2>&1 &
            for i in $(seq 300); do
                mariadb --no-defaults -e 'create database if not exists slurm_acct' \\
                    2> /dev/null && break
                sleep 0.1
            done
            setsid slurmdbd
            for i in $(seq 300); do
                (exec 3<> /dev/tcp/{CONTROLLER}/6819) 2> /dev/null && exit 0
                sleep 0.1
            done
            exit 1
            """
        done = self.run(script, node=CONTROLLER, timeout=90)
        if done.returncode != 0:
            raise OSError(f"slurmdbd did not start: {done.stderr.strip()}")

    def _last_errors(self) -> str:
        """What the logs say about a cluster that did not come up."""
        lines: list[str] = []
        for path in sorted(self.state.joinpath("log").glob("*")):
            text = path.read_text(errors="replace").splitlines()
            if path.name.startswith(("slurm", "mysql")):
                text = [line for line in text if "error" in line or "fatal" in line]
            lines += [f"{path.name}: {line}" for line in text[-3:]]
        return "\n".join(lines[-20:])

    # --- programs on the nodes ---

    def address(self, node: str) -> str:
        """The node's IPv4 address, also of login and ctl. Raises ValueError when there is no such
        node."""
        try:
            return {**config.RIG_ADDRESSES, **self.hosts}[node]
        except KeyError:
            known = ", ".join([LOGIN, CONTROLLER, *self.hosts])
            raise ValueError(f"no node {node!r}; there are {known}") from None

    def run(
        self,
        cmd: str | Sequence[str],
        node: str = LOGIN,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: float = 60,
        check: bool = False,
        input: str | None = None,
    ) -> CompletedProcess[str]:
        """Run a program on a node and return its status, stdout and stderr (as text).

        cmd: argv, or a string for bash.
        env: what to add to this process's environment, or to replace in it.
        cwd: default: the share.
        timeout: seconds; then the program and its process group are killed.
        input: what it reads; default: nothing.

        Raises subprocess.TimeoutExpired; subprocess.CalledProcessError when check is set and the
        status is not 0, with stderr in its notes; RigError when the node is not up.
        """
        process = self.popen(
            cmd,
            node,
            env=env,
            cwd=cwd,
            stdin=DEVNULL if input is None else PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            stdout, stderr = process.communicate(input, timeout)
        except BaseException:
            _kill_group(process)
            raise
        if check and process.returncode != 0:
            raise CalledProcessError(process.returncode, cmd, stdout, stderr)
        return CompletedProcess(cmd, process.returncode, stdout, stderr)

    def popen(
        self,
        cmd: str | Sequence[str],
        node: str = LOGIN,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        stdin: int | IO[Any] | None = DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        new_session: bool = True,
    ) -> Popen[str]:
        """Start a program on a node; arguments as of run and subprocess.Popen.

        The process is this one's own child, in a session of its own unless new_session is False:
        send_signal, wait and poll act on the program itself (for a string: on its bash). Raises
        RigError when the node is not up.
        """
        argv = ["bash", "-c", cmd] if isinstance(cmd, str) else list(cmd)
        try:
            process = popen_in(
                self._proc(node), argv, cwd=cwd if cwd is not None else self.share, env=environment(env),
                stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=new_session,
            )  # fmt: skip
        except OSError as error:
            raise RigError(f"node {node} is not up ({error})") from error
        self._children[:] = [child for child in self._children if child.poll() is None]
        self._children.append(process)
        return process

    def processes(self, node: str) -> list[Process]:
        """Every process on a node but the rig's own (its init, munged and Slurm's daemons,
        slurmstepd included).

        Zombies do not count. A node that is not up has none.
        """
        try:
            return read_processes(self._proc(node))[0]
        except (OSError, RigError):
            return []

    def listening(self, node: str) -> list[Listener]:
        """The TCP sockets that listen on a node, except those of the rig's own daemons.

        A node that is not up has none.
        """
        try:
            return read_listeners(self._proc(node))
        except (OSError, RigError):
            return []

    def kill_processes(self, node: str, processes: Sequence[Process]) -> None:
        """Send SIGKILL to processes of a node; those that are gone are none of our business."""
        if processes:
            self.run(["kill", "-KILL", *(str(process.pid) for process in processes)], node, cwd="/")

    def _proc(self, node: str | None) -> Path:
        """/proc entry of the node's PID 1 (of the cluster's for None), by a path that this process
        can use."""
        pid = pid_of(self.state)
        if pid is None:
            raise RigError("the cluster is down")
        fabric = Path(f"/proc/{pid}")
        if node is None:
            return fabric
        self.address(node)
        try:
            init = self.state.joinpath("node", node, "init.pid").read_text().strip()
        except FileNotFoundError:
            init = ""  # killed
        proc = fabric / "root/proc" / init
        if not init or not proc.joinpath("ns/pid").exists():
            raise RigError(f"node {node} is not up")
        return proc

    def _in_fabric(self, argv: Sequence[str]) -> CompletedProcess[str]:
        process = popen_in(
            self._proc(None), argv, cwd="/", env=environment(), stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
            start_new_session=True,
        )  # fmt: skip
        stdout, stderr = process.communicate(timeout=30)
        return CompletedProcess(argv, process.returncode, stdout, stderr)

    # --- jobs ---

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

    # --- nodes ---

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

    # --- faults ---

    def node_kill(self, *nodes: str) -> None:
        """Power loss: first the link (so that no FIN or RST gets out), then every process of the
        node."""
        for node in nodes:
            self.cut(node)
            proc = self._proc(node)
            self.state.joinpath("node", node, "init.pid").unlink()
            self._in_fabric(["kill", "-KILL", proc.name])
            wait_until(functools.partial(_gone, proc), 10, f"{node}'s end", every=0.01)

    def node_boot(self, *nodes: str) -> None:
        """Bring killed nodes back, with a fresh slurmd. /tmp and slurmd's spool folder are kept."""
        for node in nodes:
            self.join(node)
            role = "slurmd" if node in self.hosts else node
            done = self._in_fabric([str(HERE / "node-start.sh"), node, self.address(node), role])
            if done.returncode != 0:
                raise RigError(f"{node} did not boot: {done.stderr.strip()}")

    def cut(self, *nodes: str) -> None:
        """Pull the nodes' network cables; their processes go on."""
        for node in nodes:
            self.join(node)
            for direction in ("to", "from"):
                self._rule("add", 100, [direction, self.address(node)])

    def join(self, *nodes: str) -> None:
        """Plug the nodes' network cables in again."""
        for node in nodes:
            for direction in ("to", "from"):
                self._rule("del", 100, [direction, self.address(node)])

    def partition(self, a: str, b: str) -> None:
        """a and b cannot reach each other; both still reach everything else."""
        self.heal(a, b)
        self._rule("add", 90, ["from", self.address(a), "to", self.address(b)])
        self._rule("add", 90, ["from", self.address(b), "to", self.address(a)])

    def heal(self, a: str, b: str) -> None:
        """Undo partition."""
        self._rule("del", 90, ["from", self.address(a), "to", self.address(b)])
        self._rule("del", 90, ["from", self.address(b), "to", self.address(a)])

    def _rule(self, verb: str, priority: int, selector: Sequence[str]) -> None:
        done = self._in_fabric(["ip", "rule", verb, "pref", str(priority), *selector, "blackhole"])
        if done.returncode != 0 and verb == "add":
            raise RigError(f"ip rule {verb}: {done.stderr.strip()}")

    def slurmd_kill(self, *nodes: str) -> None:
        """Kill the daemon only; running steps go on."""
        for node in nodes:
            self._kill_daemon(node, "slurmd")

    def slurmd_start(self, *nodes: str) -> None:
        for node in nodes:
            self._start_daemon(node, ["slurmd", "-N", node])

    def ctld_kill(self) -> None:
        """Kill the controller; running steps go on.

        It saves its state some seconds after a change, and forgets a job that it did not save: see
        wait_saved.
        """
        self._kill_daemon(CONTROLLER, "slurmctld")

    def wait_saved(self, timeout: float = 20) -> None:
        """Wait until the controller has saved what happened before this call. Raises TimeoutError
        (seconds)."""
        saved = self.state / "ctl/state/job_state"
        begin, nudged = time.time(), 0.0

        def is_saved() -> bool:
            nonlocal nudged
            # A change of its own makes it save: it need not have one left. One that comes while it saves
            # may be lost on it, hence another one now and then.
            if time.time() - nudged > 6:
                self.run(["sbatch", "--hold", "--time=1", "--wrap=true", "--job-name=wait_saved"], check=True)
                self.run(["scancel", "--name=wait_saved"], check=True)
                nudged = time.time()
            # what was written a second later was begun later
            return saved.exists() and saved.stat().st_mtime > begin + 1

        wait_until(is_saved, timeout, "the controller to save")

    def ctld_start(self) -> None:
        self._start_daemon(CONTROLLER, ["slurmctld"])

    def _daemon_pids(self, node: str, name: str) -> list[int]:
        try:
            own = read_processes(self._proc(node))[1]
        except (OSError, RigError):
            return []
        return [pid for pid, daemon in own.items() if daemon == name]

    def _kill_daemon(self, node: str, name: str) -> None:
        pids = self._daemon_pids(node, name)
        if not pids:
            raise RigError(f"no {name} runs on {node}")
        self.run(["kill", "-KILL", *map(str, pids)], node, cwd="/", check=True)
        wait_until(lambda: not self._daemon_pids(node, name), 5, f"{name}'s end on {node}", every=0.01)

    def _start_daemon(self, node: str, argv: Sequence[str]) -> None:
        done = self.run(["setsid", *argv], node, cwd="/", timeout=30)
        if done.returncode != 0:
            raise RigError(f"{argv[0]} did not start on {node}: {done.stderr.strip() or self._last_errors()}")

    def mend(self) -> list[str]:
        """Undo every fault that is still there, and return what was done."""
        done = []
        rules = self._in_fabric(["ip", "rule", "show"]).stdout
        for line in rules.splitlines():
            priority, _, rest = line.partition(":")
            if priority in ("90", "100"):
                self._in_fabric(["ip", "rule", "del", "pref", priority, *rest.split()])
                done.append(f"network: {rest.strip()}")
        for node in (CONTROLLER, LOGIN, *self.hosts):
            try:
                self._proc(node)
            except RigError:
                self.node_boot(node)
                done.append(f"booted {node}")
        if not self._daemon_pids(CONTROLLER, "slurmctld"):
            self.ctld_start()
            done.append("started slurmctld")
        for node in self.hosts:
            pids = functools.partial(self._daemon_pids, node, "slurmd")
            if not _wait_daemon(pids, grace=bool(done)):
                self.slurmd_start(node)
                done.append(f"started slurmd on {node}")
        return done

    def reset(self, timeout: float = 60, grace: float = 5) -> dict[str, list[Process]]:
        """Make the cluster as new for the next test: mend, cancel the jobs that are left, wait
        until nodes are idle.

        Returns the processes that were left on each node when all jobs had ended; those are killed.
        grace: seconds that a process gets to go by itself, as ending takes time. timeout: seconds
        for the jobs' end and again for the nodes.
        Raises TimeoutError when jobs do not end or nodes do not become idle.
        """
        self.mend()
        jobs = self.unfinished_jobs()
        self.cancel(*jobs)
        for job in jobs:
            self.wait_job(job, timeout)
        left = self.left_over(timeout=grace)
        for node, processes in left.items():
            self.kill_processes(node, processes)
        for node, state in self.node_states().items():
            if state.startswith(("drain", "down")) and not state.endswith("*"):
                self.run(["scontrol", "update", f"nodename={node}", "state=resume"])
        self.wait_idle(timeout)
        return left

    def left_over(self, timeout: float) -> dict[str, list[Process]]:
        """Node to its processes, as soon as there are none, or those that are still there after
        timeout seconds."""
        end = time.monotonic() + timeout
        while True:
            everywhere = {node: self.processes(node) for node in (LOGIN, CONTROLLER, *self.hosts)}
            left = {node: processes for node, processes in everywhere.items() if processes}
            if not left or time.monotonic() >= end:
                return left
            time.sleep(0.05)


class CalledProcessError(subprocess.CalledProcessError):
    """subprocess's, whose message also says what the program wrote to stderr."""

    def __str__(self) -> str:
        said = (self.stderr or self.stdout or "").strip()
        return f"{super().__str__()}\n{said}" if said else super().__str__()


_live: weakref.WeakSet[Cluster] = weakref.WeakSet()


def _wait_daemon(pids: Callable[[], list[int]], *, grace: bool) -> bool:
    """Whether a daemon runs; with grace, one that is only just being started by a booting node gets
    5 s."""
    if not grace:
        return bool(pids())
    try:
        return bool(wait_until(pids, 5, "a daemon"))
    except TimeoutError:
        return False


def _gone(proc: Path) -> bool:
    """Whether the process of this /proc entry has ended (a zombie has no namespaces any more)."""
    return not proc.joinpath("ns/pid").exists()


def _kill_group(process: Popen[str]) -> None:
    """Kill a child of ours and its process group, and reap it."""
    if process.poll() is None:
        try:
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        except ProcessLookupError:
            pass
    try:
        process.wait(10)
    except TimeoutExpired as error:
        raise RigError(f"process {process.pid} does not die") from error
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _end(supervisor: Popen[bytes], children: Sequence[Popen[str]], owner: int) -> None:
    """End a cluster by its supervisor. Not a method: a finaliser must not hold on to its object."""
    if os.getpid() != owner:
        return
    for child in children:  # unreaped, they would keep their pid namespace from ending
        _kill_group(child)
    if supervisor.poll() is None:
        supervisor.terminate()
    try:
        supervisor.wait(20)
    except TimeoutExpired as error:
        raise RigError(f"the cluster did not end; its supervisor is pid {supervisor.pid}") from error
    finally:
        if supervisor.stdin is not None:
            supervisor.stdin.close()
