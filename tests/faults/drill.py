"""Measuring a drill: when it was noticed, when what it hit was gone, how the job ended."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from typing import Any

from tests.slurm.cluster import Cluster, Process, wait_until
from tests.slurm.deploy import Run

from . import table

# Seconds: what every process's death must keep to. The script is done within CLEAN; what Slurm itself still has
# to kill (orphans of a rank that was killed; it tries after 1, 3, 7, 15 s) is gone within KILL_WAIT.
NOTICE, CLEAN, KILL_WAIT = 5.0, 10.0, 30.0


@dataclass(frozen=True)
class Event:
    time: float
    stage: str
    state: str
    detail: str


def events(run: Run, since: float = 0) -> list[Event]:
    """Events of the run after that time, oldest first."""
    file = run.path / "events.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    found: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith("}")]
    return [Event(**item) for item in found if item["time"] >= since]


def wait_event(run: Run, since: float, stage: str, *states: str, timeout: float = 30) -> Event:
    """The first such event after that time (`*` is any stage)."""

    def found() -> Event | None:
        fitting = (e for e in events(run, since) if stage in ("*", e.stage) and e.state in states)
        return next(fitting, None)

    try:
        event = wait_until(found, timeout, f"{stage} {'/'.join(states)} of {run.path.name}")
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{events(run, since)}\n{run.output}") from None
    assert event is not None
    return event


def everything(cluster: Cluster, *nodes: str) -> list[tuple[str, Process]]:
    """What runs on these nodes (all if none is named) besides the test bed and the job's agents with their locks."""
    found = [(node, p) for node in nodes or cluster.hosts for p in cluster.processes(node)]
    return [(node, p) for node, p in found if p.argv[1:2] != ("-c",) or p.argv[3:4] not in (("node",), ("hold",))]


def gone(cluster: Cluster, old: list[tuple[str, Process]], timeout: float = 15) -> int:
    """Wait until these processes have ended; how many are left after the timeout."""

    def left() -> list[tuple[str, Process]]:
        nodes = {node for node, _ in old}
        now = {(node, p.pid, p.argv) for node in nodes for p in cluster.processes(node)}
        return [(node, p) for node, p in old if (node, p.pid, p.argv) in now]

    with contextlib.suppress(TimeoutError):
        wait_until(lambda: not left(), timeout, "the end of the old processes")
    return len(left())


def restarted(
    drill: str, run: Run, group: str, old: list[tuple[str, Process]], since: float, reason: str = ""
) -> float:
    """A worker group was hit: it is noticed, cleaned away, and back in service. Adds the row."""
    cluster = run.launcher.cluster
    noticed = wait_event(run, since, group, "restarting", timeout=20)
    left = gone(cluster, old)
    clean = time.time() - since
    ready = wait_event(run, noticed.time, group, "ready", timeout=40)
    assert reason in noticed.detail, noticed
    assert left == 0
    assert noticed.time - since < NOTICE
    table.add(
        drill, noticed.time - since, min(clean, ready.time - since), "on", left,
        f"restarted, in service after {ready.time - since:.1f} s",
    )  # fmt: skip
    return ready.time


def exit_status(run: Run) -> str:
    """The job's exit status as Slurm has it: STATUS, or STATUS:SIGNAL."""
    status, _, signal = run.launcher.cluster.job(run.job)["ExitCode"].partition(":")
    return status if signal == "0" else f"{status}:{signal}"


def ended(
    drill: str, run: Run, since: float, *, state: str = "FAILED", status: str = "", said: str = "",
    noticed: str = "failed", limit: float = CLEAN, note: str = "",
) -> str:
    """The job ends: soon, with this state and status, nothing left, and its last line says why. Adds
    the row and returns that line."""  # fmt: skip
    cluster = run.launcher.cluster
    last_seen: dict[str, list[Process]] = {}

    def all_gone() -> bool:
        if left := cluster.left_over(timeout=0):
            last_seen.clear()
            last_seen.update(left)
        return not left

    with contextlib.suppress(TimeoutError):
        wait_until(all_gone, max(limit, KILL_WAIT), "the end of all processes")
    clean = time.time() - since
    left = cluster.left_over(timeout=0)
    assert cluster.wait_job(run.job, 20) == state, run.output
    notice = wait_event(run, since, "*", noticed, timeout=1).time - since
    last = run.output.splitlines()[-1]
    found = exit_status(run)
    table.add(drill, notice, clean, found, sum(map(len, left.values())), note or last.split(": ", 1)[-1][:60])
    assert left == {}, left
    assert found == status or not status, (found, status, run.output)
    assert said in last, run.output
    assert "stopped, exit status" in last, run.output
    assert notice < NOTICE, (notice, run.output)
    stopped = wait_event(run, since, "stop", "done", timeout=1).time
    assert stopped - since < limit, (stopped - since, run.output)
    assert clean < max(limit, KILL_WAIT), (clean, last_seen, run.output)
    assert not run.path.joinpath("secrets").exists()
    scratch = [line for node in cluster.hosts for line in cluster.run("ls /tmp", node, cwd="/").stdout.split()]
    assert not [name for name in scratch if name.startswith("sgl-launch")], scratch
    return last
