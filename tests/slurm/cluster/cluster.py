"""A cluster, brought up and down; what can be done with it is in the classes below it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import weakref
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired

from . import config
from .faults import Faults
from .programs import kill_group
from .state import HERE, RigError, environment, has_freezer, new_state_folder, pid_of, why_not, write_files, write_pyxis
from .waiting import wait_until


def live_clusters() -> list[Cluster]:
    """The clusters that this process brought up and that are still up."""
    return [cluster for cluster in _live if cluster.is_up]


class Cluster(Faults):
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
        real_gpus: bool = False,
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
        real_gpus: the nodes share out this machine's NVIDIA GPUs in their order; a node sees its own alone.
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
            "real_gpus": config.real_gpus(expressions, gpus_of) if real_gpus else {},
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
        conf = {"slurm.conf": slurm_conf, "gres.conf": config.gres_conf(expressions, gpus_of, real=real_gpus)}
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
                kill_group(child)
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


_live: weakref.WeakSet[Cluster] = weakref.WeakSet()


def _end(supervisor: Popen[bytes], children: Sequence[Popen[str]], owner: int) -> None:
    """End a cluster by its supervisor. Not a method: a finaliser must not hold on to its object."""
    if os.getpid() != owner:
        return
    for child in children:  # unreaped, they would keep their pid namespace from ending
        kill_group(child)
    if supervisor.poll() is None:
        supervisor.terminate()
    try:
        supervisor.wait(20)
    except TimeoutExpired as error:
        raise RigError(f"the cluster did not end; its supervisor is pid {supervisor.pid}") from error
    finally:
        if supervisor.stdin is not None:
            supervisor.stdin.close()
