"""What the nodes' hardware says before a bench and after it: Xid, ECC, throttling, link errors."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from launcher.run.folder import RunFolder
from launcher.run.slurm import environment

SCRIPT = Path(__file__).with_name("hardware.sh")
LIMIT = 60.0  # seconds for all nodes
_LINE = re.compile(r"^(?:\d+: )?hw (\S+) (\S+) (\w+) (\d+)$", re.M)
STATES = ("hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")  # 1 while it is so; others count up
_MEANS = {
    "xid": "errors of the NVIDIA driver (Xid, see dmesg)",
    "ecc_uncorrected": "uncorrected ECC errors",
    "ecc_corrected": "corrected ECC errors",
    "nvlink_errors": "NVLink errors",
    "hw_thermal_slowdown": "is slowed down by heat (hardware)",
    "sw_thermal_slowdown": "is slowed down by heat (driver)",
    "hw_power_brake_slowdown": "is slowed down by the power supply",
    "link_downed": "times that the link went down",
    "symbol_error": "symbol errors of the link",
    "port_rcv_errors": "packets received with errors",
    "link_error_recovery": "recoveries of the link",
}

Snapshot = Mapping[str, int]
"""`HOST PART COUNTER` -> its value; parts are gpuN, node, or an InfiniBand device."""


def snapshot(run: RunFolder) -> dict[str, int]:
    """Ask all nodes of a running job; {} where they cannot be asked: figures are worth having without it."""
    words = ["bash", "-c", SCRIPT.read_text(encoding="utf-8")]
    plan = run.plan()
    if not plan.local:
        count = len({node.host for node in run.nodes()})
        tasks = [f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--mem=0"]
        kinds = [f"--het-group=0-{len(plan.components) - 1}"] if len(plan.components) > 1 else []
        words = ["srun", f"--jobid={run.job_id}", "--overlap", "--cpu-bind=none", *(kinds or tasks), *words]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL, env=environment()
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse(done.stdout)


def parse(text: str) -> dict[str, int]:
    """The lines of hardware.sh; whatever else was printed is left out."""
    return {f"{host} {part} {name}": int(value) for host, part, name, value in _LINE.findall(text)}


def remarks(before: Snapshot, after: Snapshot) -> list[str]:
    """What happened in between, a sentence each: counters that have grown, and what slows a GPU down."""
    found = []
    for key, value in after.items():
        host, part, name = key.split(" ")
        means = _MEANS.get(name, name)
        if name in STATES:
            if value or before.get(key):
                found.append(f"{host}: {part} {means}")
        elif (grown := value - before.get(key, value)) > 0:
            found.append(f"{host}: {part} had {grown} {means}")
    return found
