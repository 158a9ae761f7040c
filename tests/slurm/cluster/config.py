"""What the daemons of a cluster read: host names and addresses, slurm.conf and the files beside it.
Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence

CONTROLLER = "ctl"
LOGIN = "login"
RIG = "/run/rig"
"""The state folder as every node sees it."""

_GROUP = re.compile(r"^([^\[\]]*)\[([0-9,-]+)\]([^\[\]]*)$")
_NAME = re.compile(r"^[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?$")


def expand(expression: str) -> list[str]:
    """The host names of one Slurm host expression, in its own order: "n[001-002,7]" is n001, n002,
    n7.

    Raises ValueError when the expression is none, or names something that is no host name.
    """
    match = _GROUP.match(expression)
    names = []
    if match is None:
        names = [expression]
    else:
        before, group, after = match.groups()
        for part in group.split(","):
            first, _, last = part.partition("-")
            if not first or ("-" in part and not last):
                raise ValueError(f"{expression!r}: {part!r} is no number and no range")
            width = len(first)
            numbers = range(int(first), int(last or first) + 1)
            names += [f"{before}{number:0{width}d}{after}" for number in numbers]
    for name in names:
        if not _NAME.match(name):
            raise ValueError(f"{expression!r}: {name!r} is no host name")
    if not names:
        raise ValueError(f"{expression!r} names no host")
    return names


def assign_addresses(expressions: Sequence[str]) -> dict[str, str]:
    """Name to IPv4 address of every compute node, in the order of definition.

    Raises ValueError when a name is no host name, comes twice or is one of the rig's own, or at
    none at all.
    """
    names = [name for expression in expressions for name in expand(expression)]
    if not names:
        raise ValueError("a cluster needs at least one node")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"node {name!r} is defined twice")
        if name in (CONTROLLER, LOGIN, "fabric", "localhost"):
            raise ValueError(f"{name!r} is a name of the rig's own")
    return {name: f"10.77.{1 + i // 250}.{1 + i % 250}" for i, name in enumerate(names)}


RIG_ADDRESSES = {CONTROLLER: "10.77.0.1", LOGIN: "10.77.0.2"}


def hosts_file(addresses: dict[str, str]) -> str:
    lines = ["127.0.0.1 localhost fabric"]
    lines += [f"{address} {name}" for name, address in {**RIG_ADDRESSES, **addresses}.items()]
    return "\n".join(lines) + "\n"


def slurm_conf(
    expressions: Sequence[str],
    *,
    gpus: Sequence[int],
    cpus: int,
    memory_mb: int,
    kill_wait: int,
    slurmd_timeout: int,
    proctrack: str,
    accounting: bool,
    extra: str,
) -> str:
    """slurm.conf. gpus: of each expression's nodes. kill_wait and slurmd_timeout in seconds; extra: more
    lines; a later value of a key wins."""
    if accounting:
        storage = (
            "AccountingStorageType=accounting_storage/slurmdbd\n"
            f"AccountingStorageHost={CONTROLLER}\nAccountingStorageTRES=gres/gpu"
        )
    else:
        storage = "AccountingStorageType=accounting_storage/none"
    nodes = "\n".join(
        f"NodeName={expression}" + (f" Gres=gpu:h100:{count}" if count else "")
        for expression, count in zip(expressions, gpus, strict=True)
    )
    return f"""\
ClusterName=rig
SlurmctldHost={CONTROLLER}({RIG_ADDRESSES[CONTROLLER]})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its old credential has expired (default: 120 s).
AuthInfo=socket=/run/munge/munge.socket.2,cred_expire=10
StateSaveLocation={RIG}/ctl/state
SlurmctldPidFile={RIG}/ctl/slurmctld.pid
SlurmctldLogFile={RIG}/log/slurmctld.log
SlurmdSpoolDir={RIG}/node/%n/spool
SlurmdPidFile={RIG}/node/%n/slurmd.pid
SlurmdLogFile={RIG}/log/slurmd.%n.log
SlurmctldDebug=info
SlurmdDebug=info
# No binding to CPUs and no memory limits: the nodes pretend to be bigger than the machine.
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=10
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=1,sched_min_interval=0
PriorityType=priority/basic
# Failures are noticed within seconds.
SlurmdTimeout={slurmd_timeout}
SlurmctldTimeout=10
MessageTimeout=5
TCPTimeout=2
BatchStartTimeout=10
KillWait={kill_wait}
UnkillableStepTimeout=120
InactiveLimit=0
WaitTime=0
MinJobAge=300
ReturnToService=2
JobRequeue=1
CompleteWait=0
TreeWidth=50
PropagateResourceLimitsExcept=ALL
JobCompType=jobcomp/filetxt
JobCompLoc={RIG}/log/jobcomp.log
{storage}
NodeName=DEFAULT CPUs={cpus} Boards=1 SocketsPerBoard=2 CoresPerSocket={cpus // 2} ThreadsPerCore=1 \
RealMemory={memory_mb} State=UNKNOWN
{nodes}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=01:00:00 State=UP OverSubscribe=NO
{extra}
"""


def real_gpus(expressions: Sequence[str], gpus: Sequence[int]) -> dict[str, list[int]]:
    """Node name to the minor numbers of its NVIDIA devices: the machine's GPUs in order, node after node."""
    shares: dict[str, list[int]] = {}
    first = 0
    for expression, count in zip(expressions, gpus, strict=True):
        for name in expand(expression):
            shares[name] = list(range(first, first + count))
            first += count
    return shares


def gres_conf(expressions: Sequence[str], gpus: Sequence[int], *, real: bool = False) -> str:
    """gres.conf; real: each node has devices of its own, numbered from 0 as on a machine of its own."""
    if real:
        hosts = [(name, count) for e, count in zip(expressions, gpus, strict=True) for name in expand(e)]
        return "".join(
            f"NodeName={name} Name=gpu Type=h100 File={RIG}/dev/{name}/gpu{gpu}\n"
            for name, count in hosts
            for gpu in range(count)
        )
    lines = ""
    for expression, count in zip(expressions, gpus, strict=True):
        if count:
            devices = f"nvidia[0-{count - 1}]" if count > 1 else "nvidia0"
            lines += f"NodeName={expression} Name=gpu Type=h100 File={RIG}/dev/{devices}\n"
    return lines


CGROUP_CONF = """\
# 22.05 loads a cgroup plugin even if nothing uses it, and slurmd dies when autodetection finds
# no mount: name one.
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
ConstrainCores=no
ConstrainRAMSpace=no
ConstrainDevices=no
"""

SLURMDBD_CONF = f"""\
AuthType=auth/munge
AuthInfo=socket=/run/munge/munge.socket.2
DbdHost={CONTROLLER}
SlurmUser=root
DebugLevel=info
LogFile={RIG}/log/slurmdbd.log
PidFile={RIG}/ctl/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct
"""
