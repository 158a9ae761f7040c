"""NATS and etcd of the deployment that a job's workers join."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from launcher.base.errors import WorkError
from launcher.run.deployment import read_deployment
from launcher.run.folder import RunFolder
from launcher.run.history import History
from launcher.run.state import job_state

_EVERY = 0.5  # seconds between two looks at its run folder
_ASKED = 20.0  # seconds between two questions to Slurm: a job that was cancelled in the queue writes nothing


async def services_of(joins: str, limit: float) -> dict[str, str]:
    """Their URLs as clients are told them, once the deployment with this run folder has found its nodes. Raises
    WorkError when it has not within `limit` seconds, or has ended."""
    run, deadline, asked = RunFolder(Path(joins)), time.monotonic() + limit, 0.0
    while True:
        ended = History.read(run).leaving
        if not ended and time.monotonic() > asked + _ASKED:
            asked = time.monotonic()
            ended = (await asyncio.to_thread(job_state, run)).ended
        if ended:
            raise WorkError(f"the deployment that this job's workers were to join has ended ({run.path})")
        try:
            found = await asyncio.to_thread(read_deployment, run)
        except WorkError as e:
            if time.monotonic() > deadline:
                raise WorkError(f"the deployment that this job's workers were to join does not start: {e}") from None
        else:
            schemes = {"nats": "tls" if found.nats_tls else "nats", "etcd": "https" if found.secrets else "http"}
            return {
                name: f"{scheme}://{found.service_hosts[name]}:{found.service_ports[name]}"
                for name, scheme in schemes.items()
            }
        await asyncio.sleep(_EVERY)
