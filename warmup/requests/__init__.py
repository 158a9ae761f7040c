"""Requests that warm a deployment and prove it warm: importing this stays light.

``run`` sweeps and reports; ``prove`` gets one answer through every worker. aiohttp and rich are
imported when they are used.
"""

from .address import AddressError, parse_address
from .api import Options, run, run_async
from .coverage import Worker
from .limits import Limits
from .outcome import Began, Event, Progress, RequestDone, RoundDone, SizeDone
from .probe import Probe, Probed
from .prove import Proof, prove, prove_async
from .report import Report
from .rule import Bound, Rule
from .sizes import Axes, Size, Sizing, plan_sizes
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
    "Probe",
    "Probed",
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
