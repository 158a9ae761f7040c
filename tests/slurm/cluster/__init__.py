"""A real Slurm cluster of virtual nodes on this one machine, for tests; README.md tells more.

>>> with Cluster.up(nodes=6) as cluster:
...     job = cluster.submit("srun hostname", "-N2", "--ntasks-per-node=1")
...     assert cluster.wait_job(job, timeout=20) == "COMPLETED"
"""

from __future__ import annotations

from . import config
from .cluster import Cluster, live_clusters
from .config import CONTROLLER, LOGIN
from .jobs import ENDED
from .procfs import Listener, Process
from .programs import CalledProcessError
from .state import DEFAULT_BASE, RigError, pid_of, why_not
from .waiting import wait_until

__all__ = [
    "CONTROLLER",
    "DEFAULT_BASE",
    "ENDED",
    "LOGIN",
    "CalledProcessError",
    "Cluster",
    "Listener",
    "Process",
    "RigError",
    "config",
    "live_clusters",
    "pid_of",
    "wait_until",
    "why_not",
]
