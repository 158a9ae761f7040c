"""Programs on the nodes: each node is a set of namespaces, entered by its first process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess, Popen, TimeoutExpired
from typing import IO, Any

from . import config
from .config import CONTROLLER, LOGIN
from .namespaces import popen_in
from .procfs import Listener, Process, read_listeners, read_processes
from .state import RigError, environment, pid_of
from .waiting import wait_until


class Programs:
    """Runs programs on the nodes of a cluster, and looks at what runs there."""

    hosts: dict[str, str]
    share: Path
    state: Path
    _children: list[Popen[str]]

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
            kill_group(process)
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
        """Send SIGKILL to processes of a node, until they are gone; those that are gone are none of our business."""

        def gone() -> bool:
            here = {(p.pid, p.argv) for p in self.processes(node)}
            left = [p for p in processes if (p.pid, p.argv) in here]
            if left:
                self.run(["kill", "-KILL", *(str(process.pid) for process in left)], node, cwd="/")
            return not left

        wait_until(gone, 5, f"the end of {[str(p) for p in processes]} on {node}")

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


class CalledProcessError(subprocess.CalledProcessError):
    """subprocess's, whose message also says what the program wrote to stderr."""

    def __str__(self) -> str:
        said = (self.stderr or self.stdout or "").strip()
        return f"{super().__str__()}\n{said}" if said else super().__str__()


def kill_group(process: Popen[str]) -> None:
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
