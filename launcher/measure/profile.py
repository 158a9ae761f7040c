"""SGLang's torch profiler, or nsys around it, started in a running group through the engine's own control API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from launcher.base.errors import InputError, WorkError
from launcher.base.suggest import nearest
from launcher.run.deployment import Deployment, GroupAddress, read_deployment
from launcher.run.folder import RunFolder

TRACES = ("*.trace.json.gz", "*.trace.json", "*.json.gz")
REPORTS = ("*.nsys-rep",)
TORCH = ("CPU", "GPU")
NSYS = ("CUDA_PROFILER",)  # SGLang then opens and closes a range, which is what nsys records
SETTLED = 2.0  # seconds in which a file must not have grown
LOOK = 30.0  # for the answer to the order


def start(run: RunFolder, name: str, steps: int, activities: Sequence[str], wait: float, load: bool) -> list[Path]:
    """Profile `steps` steps of all ranks of a group and return the traces, one a rank. Ends after `wait` seconds.

    `activities` are SGLang's: TORCH, or NSYS for a group that runs under nsys (docs/measure.md). With `load`, requests
    are sent meanwhile: a group without work makes no steps. Raises InputError for a group that is none, WorkError when
    the engine refuses or no trace comes.
    """
    deployment = read_deployment(run)
    group = next((g for g in deployment.groups if g.name == name), None)
    if group is None:
        known = [g.name for g in deployment.groups]
        raise InputError(f"no group named {name!r} in {run.name}: {', '.join(known)}{nearest(name, known) or ''}")
    if deployment.plan.engine == "mocker":
        raise WorkError("the mocker has no profiler: profile a real worker")
    folder = run.path / "profiles" / (f"{name}-{time.strftime('%H%M%S')}" if activities != NSYS else f"nsys-{name}")
    if activities == NSYS and not folder.is_dir():
        how = "docs/measure.md says how to start it so"
        raise WorkError(f"{name} does not run under nsys (there is no {folder}): {how}")
    folder.mkdir(parents=True, exist_ok=True)
    body = {"output_dir": str(folder.resolve()), "num_steps": steps, "activities": list(activities)}
    under_dynamo = deployment.health is None
    key = deployment.keys.worker
    return asyncio.run(_profile(group, under_dynamo, body, folder, wait, deployment if load else None, key))


def url_of(group: GroupAddress, under_dynamo: bool) -> str:
    """Under Dynamo on the system port (1.4 to 1.6), else of SGLang's own server."""
    if under_dynamo:
        return f"http://{group.address}:{group.ports['system']}/engine/control/start_profile"
    return f"{group.url}/start_profile"


async def _profile(
    group: GroupAddress,
    under_dynamo: bool,
    body: dict[str, object],
    folder: Path,
    wait: float,
    load: Deployment | None,
    key: str | None = None,
) -> list[Path]:
    import aiohttp

    from warmup.requests.session import open_session

    url, deadline, before = url_of(group, under_dynamo), time.monotonic() + wait, set(traces(folder))
    async with open_session(key) as session:
        try:
            async with session.post(url, json=body, timeout=aiohttp.ClientTimeout(total=LOOK)) as answer:
                said = await answer.text()
                if answer.status != 200 or '"error"' in said:
                    raise WorkError(f"{url} refused: HTTP {answer.status}: {' '.join(said.split())[:200]}")
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise WorkError(f"{url} does not answer: {error or type(error).__name__}") from None
    work = asyncio.ensure_future(_load(load)) if load else None
    try:
        while time.monotonic() < deadline:
            await asyncio.sleep(SETTLED / 4)
            found = [f for f in traces(folder) if f not in before]
            if found and all(time.time() - f.stat().st_mtime > SETTLED for f in found):
                return found
    finally:
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    hint = "" if load else "; a group without requests makes no steps: send some, or give --load"
    raise WorkError(f"no trace in {folder} after {wait:g} s{hint}")


def traces(folder: Path) -> list[Path]:
    return sorted({file for pattern in TRACES + REPORTS for file in folder.rglob(pattern)})


async def _load(deployment: Deployment) -> None:
    """Requests, four at a time, until it is cancelled."""
    from warmup.requests.client import Client
    from warmup.requests.wire import Wire

    url = deployment.endpoint
    async with Wire(url, 600, deployment.keys.endpoint, deployment.ca) as wire:
        client = Client(wire, url, deployment.model)
        while True:
            await asyncio.gather(*(client.send(64, 64, index=i) for i in range(4)))
