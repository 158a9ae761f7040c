"""Slurm's reasons for which a job waits, in sentences (squeue(1), JOB REASON CODES)."""

from __future__ import annotations

import re
from datetime import datetime

from launcher.base.counting import duration

_REASONS = {
    "Priority": "jobs of higher priority are before it in the queue",
    "Resources": "it is next in the queue and waits for nodes to become free",
    "None": "Slurm has not looked at it yet",
    "Dependency": "it waits for another job (slurm.dependency)",
    "DependencyNeverSatisfied": "the job that it waits for has failed, so it will never start: cancel it",
    "JobHeldUser": "you hold it: `scontrol release` lets it go",
    "JobHeldAdmin": "an administrator holds it: ask them",
    "BeginTime": "its time to begin (slurm.begin) has not come; after a requeue Slurm waits some two minutes",
    "Reservation": "its reservation has not begun",
    "PartitionDown": "its partition is down: ask the administrators, or choose another one",
    "PartitionNodeLimit": "the partition does not give so many nodes: use fewer, or another slurm.partition",
    "PartitionTimeLimit": "slurm.time is more than the partition allows: lower it",
    "ReqNodeNotAvail": "nodes that it asks for are down, drained or reserved: `sinfo -R` says why",
    "Nodes required for job are DOWN": "too few nodes are left of those it may have: `sinfo -R` says which are and why",
    "BadConstraints": "no node fits slurm.constraint",
    "InvalidAccount": "its account is not valid: change slurm.account",
    "InvalidQOS": "its QOS is not valid: change slurm.qos",
    "launch failed requeued held": "its start failed on a node and Slurm holds it: `scontrol release` tries again",
    "JobLaunchFailure": "it could not be started on a node: its output file, `runs` or a node may be the cause",
}
# one family of words for all limits: QOSMaxGRESPerUser, AssocGrpCPUMinutesLimit, MaxNodePerAccount
_LIMIT = re.compile(r"(QOS|Assoc)?(Grp|Max|Min)?(\w*?)(Limit|Per\w+)")


def sentence(reason: str) -> str:
    """What a reason means; the word itself, in brackets, stays for who looks it up. Unknown ones stay as they are."""
    word, _, rest = reason.partition(",")
    known = _REASONS.get(word.strip("()")) or _REASONS.get(reason.strip("()"))
    if known is None and (found := _LIMIT.match(word)) and (found[1] or found[2]):
        whose = {"QOS": "the QOS", "Assoc": "your account"}.get(found[1] or "", "a policy")
        kind = {"Grp": "all its jobs together have reached", "Min": "the job asks for less than"}.get(
            found[2] or "", "the job, with your others, is above"
        )
        known = f"{whose} has a limit: {kind} it; wait for other jobs to end, or ask for less"
    if known is None:
        return reason
    return f"{known} ({word}{',' + rest if rest else ''})"


def expected(start: str, now: datetime | None = None) -> str:
    """When a job is expected to start, from squeue's 2026-11-23T12:00:00, in words."""
    try:
        at = datetime.fromisoformat(start)
    except ValueError:
        return start
    now = now or datetime.now()
    day = f"{at:%H:%M}" if at.date() == now.date() else f"{at:%a %d %b, %H:%M}"
    seconds = (at - now).total_seconds()
    return f"in about {duration(seconds)} ({day})" if seconds > 0 else f"at any moment ({day})"


def time_left(left: str) -> str:
    """squeue's 1-02:03:04 in words: 1 d 2 h."""
    days, _, rest = left.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdecimal() for part in parts) or not (days.isdecimal() or not days):
        return left
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return duration(seconds + int(days or 0) * 86400)
