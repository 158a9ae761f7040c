"""Requests that warm a deployment and prove it warm: importing this stays light.

``run`` sweeps and reports; ``prove`` gets one answer through every worker. aiohttp and rich are
imported when they are used.
"""

from .address import AddressError, parse_address
from .api import Options, run, run_async
from .coverage import Worker
from .prove import Proof, prove, prove_async
from .report import Report
from .sizes import Axes, Limits, Size, Sizing, plan_sizes
from .steady import Bound, Rule
from .sweep import Began, Event, Progress, RequestDone, RoundDone, SizeDone
from .verdict import FAILED, NOT_STEADY, WARM, Verdict

__all__ = [
    "FAILED",
    "NOT_STEADY",
    "WARM",
    "AddressError",
    "Axes",
    "Began",
    "Bound",
    "Event",
    "Limits",
    "Options",
    "Progress",
    "Proof",
    "Report",
    "RequestDone",
    "RoundDone",
    "Rule",
    "Size",
    "SizeDone",
    "Sizing",
    "Verdict",
    "Worker",
    "parse_address",
    "plan_sizes",
    "prove",
    "prove_async",
    "run",
    "run_async",
]
