"""What follows when a part of the job ends. Pure: a table, and a window of restarts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from launcher.config.running import OnFailure

Kind = Literal["worker", "service", "frontend", "front"]
Phase = Literal["starting", "serving", "stopping"]
Action = Literal["fail", "restart", "requeue", "ignore"]

LONGEST_PAUSE = 60.0  # seconds before a restart, however many there were


@dataclass
class Window:
    """Restarts within the last `seconds` of their clock; more than `most` of them are refused (as systemd's
    StartLimitIntervalSec and StartLimitBurst)."""

    most: int
    seconds: float
    at: list[float] = field(default_factory=list)

    def allows(self, now: float) -> bool:
        self.at = [t for t in self.at if now - t < self.seconds]
        return len(self.at) < self.most

    def note(self, now: float) -> float:
        """One more restart; returns the pause before it in seconds: none, then 1, doubling."""
        self.at.append(now)
        return min(2.0 ** (len(self.at) - 2), LONGEST_PAUSE) if len(self.at) > 1 else 0.0


# by kind, then by phase; "policy" is what on_failure says of it
_TABLE: Mapping[Kind, Mapping[Phase, str]] = {
    "worker": {"starting": "fail", "serving": "policy", "stopping": "ignore"},
    "service": {"starting": "policy", "serving": "policy", "stopping": "ignore"},
    "frontend": {"starting": "fail", "serving": "policy", "stopping": "ignore"},
    "front": {"starting": "restart", "serving": "restart", "stopping": "ignore"},
}


def decide(kind: Kind, phase: Phase, rules: OnFailure, window: Window, now: float) -> Action:
    """What to do about a part that has ended or is lost. An exit status of 0 is a failure too: Dynamo's processes
    exit 0 when they lose etcd."""
    action = _TABLE[kind][phase]
    if action == "policy":
        said = {"worker": rules.workers, "service": rules.services, "frontend": rules.frontends}[kind]
        action = {"stop": "fail"}.get(said, said)
    if action == "restart" and not window.allows(now):
        return "fail"
    return action  # type: ignore[return-value]
