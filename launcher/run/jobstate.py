"""The state of a job, in Slurm's words: of a local job too."""

from __future__ import annotations

from dataclasses import dataclass

# squeue(1), JOB STATE CODES: those that a job does not leave again by itself
ENDED = frozenset(
    """BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED
    RECONFIG_FAIL REVOKED TIMEOUT""".split()
)
# those in which its script has not begun, so that what the run folder says is of an attempt before
WAITING = frozenset("CONFIGURING PENDING REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT".split())


@dataclass(frozen=True)
class JobState:
    state: str  # Slurm's word; UNKNOWN if nobody can tell
    reason: str = ""  # Slurm's, a local job's exit status, or why it is unknown
    source: str = ""  # who said so
    start: str = ""  # when Slurm expects it to start, as squeue writes it: 2026-11-23T12:00:00
    left: str = ""  # how much of its time is left: 1-02:03:04
    forgotten: bool = False  # Slurm was asked, and answered that it knows no such job

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def waiting(self) -> bool:
        """Whether its script has not begun, or has not begun again."""
        return self.state in WAITING

    def __str__(self) -> str:
        """As people see it: `FAILED (exit status 1)`."""
        return f"{self.state} ({self.reason})" if self.reason else self.state
