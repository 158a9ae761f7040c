"""A job of this machine in a network of its own (`frontend.port: unix`): no other user reaches any of its ports.

The job's processes have their own loopback, and nothing else; the front listens on a unix socket too, which a file
system shows and guards whatever the network. The owner's commands enter the job's network by its first process.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from launcher.base.errors import WorkError

_NEWUSER, _NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40  # linux/sockios.h, linux/if.h
_PATH_MOST = 100  # bytes; the kernel has room for 107


def isolate() -> None:
    """Give this process, which must have one thread, a network of its own. Raises WorkError where the system allows
    none. Others of the user see into it only after its next exec."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        _call("unshare", _NEWNET if uid == 0 else _NEWUSER | _NEWNET)
        if uid != 0:  # the same user in there, who alone may set up that network
            for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
                Path(f"/proc/self/{file}").write_text(text, encoding="ascii")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            fcntl.ioctl(one, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP | _IFF_RUNNING))
    except OSError as e:
        raise WorkError(
            f"frontend.port: unix needs a network of the job's own, and this system gives users none ({e.strerror}; "
            "`unshare --user --net true` must work: see user.max_user_namespaces, "
            "kernel.apparmor_restrict_unprivileged_userns); use a port instead, guarded by the key"
        ) from None


def leave_network(signals: Iterable[signal.Signals]) -> str:
    """Begin this program anew (`job alone SCRIPT` becomes `job run SCRIPT`) in a network of its own, and let no signal
    in between; returns why that cannot be."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        isolate()
    except WorkError as e:
        return str(e)
    os.execv(sys.executable, [sys.executable, sys.argv[0], "job", "run", sys.argv[3]])


def enter(pid: int) -> None:
    """Take this process, which must have one thread, into the network of a job's first process, if it is another one.
    Raises WorkError."""
    own, other = Path("/proc/self/ns"), Path(f"/proc/{pid}/ns")
    try:
        if os.stat(own / "net").st_ino == os.stat(other / "net").st_ino:
            return
        kinds = ["user", "net"] if os.stat(own / "user").st_ino != os.stat(other / "user").st_ino else ["net"]
        opened = [os.open(other / kind, os.O_RDONLY) for kind in kinds]
        for fd, kind in zip(opened, kinds, strict=True):
            _call("setns", fd, _NEWUSER if kind == "user" else _NEWNET)
            os.close(fd)
    except OSError as e:
        raise WorkError(f"the job's own network (process {pid}) cannot be entered: {e.strerror}") from None


def socket_path(run: Path, job: str) -> str:
    """Where the front listens: in the run's folder, or, where that path is too long for a socket, at a new name where
    only this user can make one up."""
    path = f"{run}/endpoint.sock"
    if len(path.encode()) <= _PATH_MOST:
        return path
    own = Path(f"/run/user/{os.geteuid()}")
    return f"{own if os.access(own, os.W_OK) else '/tmp'}/sgl-launch-{job}-{os.urandom(8).hex()}.sock"


def _call(name: str, *numbers: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*map(ctypes.c_int, numbers)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
