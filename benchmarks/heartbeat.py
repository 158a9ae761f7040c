#!/usr/bin/env python3
"""Heartbeats while every core compiles: do leases live, and how long do NATS and etcd take to answer?

    heartbeat.py [--loops 8] [--seconds 30]

Starts configs/local.yaml here (real NATS, etcd and Dynamo, the mocker as workers), then LOOPS busy
processes a core, as a worker's compilers would be, and asks NATS and etcd ten times a second meanwhile.
Prints one JSON object; status 1 when a worker lost its lease or an answer took half a lease.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from launcher.job.services import nats_connection  # noqa: E402
from launcher.run.deployment import Deployment, etcd_client, read_deployment  # noqa: E402
from launcher.run.folder import RunFolder  # noqa: E402
from launcher.run.registry import registrations  # noqa: E402

SGL_LAUNCH = Path(sys.executable).with_name("sgl-launch")
LEASE = 10.0  # seconds, Dynamo 1.4's


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--loops", type=int, default=8, help="busy processes a core")
    parser.add_argument("--seconds", type=float, default=30)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        launch("submit", str(ROOT / "configs/local.yaml"), "--cluster", "local", "--wait", "ready", folder=folder)
        try:
            (path,) = (p for p in Path(folder, "runs").iterdir() if p.is_dir())
            run = RunFolder(path)
            idle = asyncio.run(ask(read_deployment(run), 5))
            count = wish.loops * (os.cpu_count() or 1)
            busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
            try:
                loaded = asyncio.run(ask(read_deployment(run), wish.seconds))
            finally:
                for one in busy:
                    one.kill()
                    one.wait()
            states = [(e.stage, e.state) for e in run.events()]
        finally:
            launch("cancel", str(path), folder=folder)
    lost = [stage for stage, state in states if state in ("lost", "restarting")]
    ok = not lost and loaded["workers_missing"] == 0 and max(loaded["nats_max_s"], loaded["etcd_max_s"]) < LEASE / 2
    result = {"busy_processes": count, "cores": os.cpu_count(), "idle": idle, "loaded": loaded, "lost": lost, "ok": ok}
    print(json.dumps(result, indent=1))
    return 0 if ok else 1


async def ask(deployment: Deployment, seconds: float) -> dict[str, Any]:
    """Ten times a second: one message through NATS and back, one key written to etcd."""
    nats = await nats_connection(deployment)
    etcd = etcd_client(deployment, timeout=LEASE)
    there = {g.rpc for g in deployment.groups}
    took: dict[str, list[float]] = {"nats": [], "etcd": []}
    missing = 0
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            await nats.flush(timeout=LEASE)
            took["nats"].append(time.monotonic() - began)
            began = time.monotonic()
            etcd.put("sgl-launch/heartbeat", "1")
            took["etcd"].append(time.monotonic() - began)
            missing = max(missing, len(there - {r.address for r in registrations(etcd)}))
            await asyncio.sleep(0.1)
    finally:
        etcd.close()
        await nats.close()
    figures: dict[str, Any] = {"asked": len(took["etcd"]), "workers_missing": missing}
    for name, values in took.items():
        figures[f"{name}_median_s"] = round(statistics.median(values), 4)
        figures[f"{name}_max_s"] = round(max(values), 4)
    return figures


def launch(*words: str, folder: str) -> None:
    done = subprocess.run([SGL_LAUNCH, *words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"sgl-launch {words[0]}: {done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
