"""Starting a program inside another process's namespaces, as a direct child of this process.

`nsenter --pid` forks, and neither passes signals on nor dies with its child. Here the fork is our
own: the calling thread first says that its children belong to the other pid namespace (setns(2)
with a pid namespace means the children, not the caller), forks, and takes that back. The child then
execs through `nsenter` for the other namespaces, which needs no fork. So `Popen.pid` is the program
itself, and kill, wait and poll work as ever.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

_CLONE_NEWPID = 0x20000000
_libc = ctypes.CDLL(None, use_errno=True)

# The kinds besides pid, as named below /proc/PID/ns and as nsenter names them.
_KINDS = {"mnt": "mount", "net": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}


def _setns(fd: int, kind: int) -> None:
    if _libc.setns(fd, kind) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


@contextmanager
def _children_in_pid_namespace(path: Path) -> Iterator[None]:
    """Within this context, what the calling thread forks is born in the pid namespace at path.

    It can start no threads meanwhile (the kernel refuses), so keep the body to one fork.
    """
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        other = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(other, _CLONE_NEWPID)
        finally:
            os.close(other)
        try:
            yield
        finally:
            _setns(own, _CLONE_NEWPID)
    finally:
        os.close(own)


def popen_in(
    proc: Path,
    argv: Sequence[str],
    *,
    cwd: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    **kwargs: Any,
) -> Popen[str]:
    """Start argv in all namespaces of the process whose /proc entry is `proc`.

    proc: for example Path("/proc/12/root/proc/7"): process 7 as seen by the procfs that process 12
        has mounted.
    cwd: a folder as seen inside; when it does not exist there, the program ends with status 125.
    env: the whole environment; None hands on this process's own.
    kwargs: what subprocess.Popen takes.

    Raises OSError when the process is gone, or when this one may not enter (it takes root).
    """
    enter = ["nsenter", *(f"--{option}={proc}/ns/{kind}" for kind, option in _KINDS.items()), "--"]
    with _children_in_pid_namespace(proc / "ns/pid"):
        return Popen([*enter, "env", "-C", os.fspath(cwd), *argv], env=env, text=True, **kwargs)
