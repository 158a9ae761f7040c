"""What runs and listens on a node, read from the procfs of its PID 1."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_DAEMONS = frozenset(("munged", "slurmd", "slurmstepd", "slurmctld", "slurmscriptd", "slurmdbd", "mariadbd"))
"""What runs on a node for the rig itself, by the names that the kernel has."""


@dataclass(frozen=True)
class Process:
    """One process of a node. pid: as the node counts. ppid: 0 for one that was started from outside
    (Cluster.run)."""

    pid: int
    ppid: int
    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.pid} {' '.join(self.argv)}"


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket of a node, and the process that has it (None: it ended while we
    looked)."""

    address: str
    port: int
    process: Process | None


def read_processes(proc: Path) -> tuple[list[Process], dict[int, str]]:
    """The processes of a node but the rig's own, and the rig's own by pid (to the kernel's name).

    proc: the /proc entry of the node's PID 1. Zombies do not count. Raises OSError when it is gone.
    """
    root = proc / "root/proc"
    others: list[Process] = []
    own: dict[int, str] = {}
    for pid in [int(entry) for entry in os.listdir(root) if entry.isdecimal()]:
        try:
            stat = root.joinpath(str(pid), "stat").read_text(errors="replace")
            argv = root.joinpath(str(pid), "cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        status, ppid, *_ = stat[stat.rindex(")") + 1 :].split()
        if status in "ZX":
            continue
        if pid == 1 or name in _DAEMONS:
            own[pid] = name
            continue
        # One that is just in exec or exit has no argv.
        words = argv.rstrip(b"\0").decode(errors="replace").split("\0") if argv else [f"[{name}]"]
        others.append(Process(pid, int(ppid), tuple(words)))
    return others, own


def read_listeners(proc: Path) -> list[Listener]:
    """The TCP sockets that listen on a node but those of the rig's daemons.

    proc: the /proc entry of the node's PID 1. Raises OSError when it is gone.
    """
    # The tables first: a socket that is in them but has no owner any more was closed meanwhile.
    tables = proc.joinpath("net/tcp").read_text(), proc.joinpath("net/tcp6").read_text()
    others, own = read_processes(proc)
    owners: dict[str, Process | None] = {}
    for pid, process in [*((p.pid, p) for p in others), *((pid, None) for pid in own)]:
        fds = proc / "root/proc" / str(pid) / "fd"
        try:
            for fd in os.listdir(fds):
                target = os.readlink(fds / fd)
                if target.startswith("socket:["):
                    owners.setdefault(target[8:-1], process)
        except OSError:
            continue  # ended meanwhile, or closed it
    found = []
    for line in (line for table in tables for line in table.splitlines()[1:]):
        fields = line.split()
        inode = fields[9]
        listens = fields[3] == "0A"
        of_the_rig = inode in owners and owners[inode] is None
        if listens and not of_the_rig:
            address, port = fields[1].split(":")
            found.append(Listener(_address_from_hex(address), int(port, 16), owners.get(inode)))
    return found


def _address_from_hex(text: str) -> str:
    """An address as /proc/net/tcp and tcp6 write it: 32-bit words in the machine's byte order."""
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)
