"""How a job's start and end grow with its nodes: 6, 64 and 200 virtual nodes of a real Slurm, stage by stage.

    python benchmarks/scale.py [--beside CHECKOUT] [NODES ...]          (root; a minute for all three)

Every worker is a stand-in that is ready at once (ready_at_once.c), a node each, behind SGLang's real router: what is
left is sgl-launch's own time and srun's. Beside it stand an `srun -N` of `true` over the same nodes, one of the job's
agent alone (templates/node.sh), and as many sruns of one node each as the job has steps, side by side. `--beside` runs
another checkout of sgl-launch, with a .venv of its own, on the same cluster just before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.slurm.cluster import LOGIN, Cluster, wait_until  # noqa: E402
from tests.slurm.deploy import Launcher, Run, shared_folder  # noqa: E402

STAGES = ("who", "nodes", "workers", "frontend", "ready")  # node discovery was called who


def config(workers: int, python: Path) -> str:
    return json.dumps(
        {
            "name": "scale",
            "engine": "sglang",
            "python": str(python),
            "model": {"path": f"{ROOT}/configs/tiny-model", "served_name": "m"},
            "slurm": {"gpus_per_node": 8, "cpus-per-task": 1},
            "aggregated": {"workers": workers, "args": {"tp-size": 8}},
            "frontend": {"port": "auto"},
            "warmup": {"requests": {"enabled": False}, "kernels": {"enabled": False}},
        }
    )


def standin(folder: Path) -> Path:
    """A `python` that is the stand-in for workers, and this Python for all else (the router)."""
    server = folder / "ready_at_once"
    subprocess.run(["cc", "-O1", "-o", server, ROOT / "benchmarks" / "ready_at_once.c"], check=True)
    python = folder / "python"
    choice = f'[ "$2" = sglang.launch_server ] && exec {server} "$@"'
    python.write_text(f'#!/bin/bash\n{choice}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def timed(cluster: Cluster, command: str) -> float:
    begin = time.monotonic()
    cluster.run(["bash", "-c", command], LOGIN, check=True, timeout=120)
    return time.monotonic() - begin


def measure(nodes: int, beside: Path | None) -> None:
    with Cluster.up(nodes=nodes, gpus=8) as cluster, shared_folder(cluster) as folder:
        (folder / "job.sh").touch()
        script = (ROOT / "templates" / "node.sh").read_text()
        agent = shlex.join(["bash", "-c", script, "node", "MARK", "1", str(folder), "sgl-launch-scale", "", ""])
        whole = timed(cluster, f"srun -N{nodes} --ntasks-per-node=1 true")
        agents = timed(cluster, f"srun -N{nodes} --ntasks-per-node=1 --input=all {agent} </dev/null >/dev/null")
        single = timed(cluster, f"salloc -Q -N{nodes} bash -c 'for i in $(seq {nodes}); do "
                                "srun --overlap -N1 -n1 -r$((i-1)) true & done; wait'")  # fmt: skip
        print(f"{nodes:4} nodes: srun -N{nodes} true {whole:.2f} s, of the agent alone {agents - 1:.2f} s; "
              f"{nodes} sruns of one node side by side {single:.2f} s")  # fmt: skip
        config_file = config(nodes, standin(folder))
        for checkout in filter(None, (beside, ROOT)):
            launcher = Launcher(cluster, folder, checkout / ".venv" / "bin" / "sgl-launch")
            deploy(cluster, launcher, config_file, folder)


def deploy(cluster: Cluster, launcher: Launcher, text: str, folder: Path) -> None:
    begin = time.time()
    run = launcher.start(launcher.write(text), wait=None)
    wait_until(lambda: run.has("ready", "done"), 180, "the first token", every=0.02)
    end = run.event_time("ready", "done")
    started = [(stage, run.event_time(stage, "started")) for stage, state, _ in run.events() if state == "started"]
    started = [(stage, at) for stage, at in started if stage in STAGES]
    stages = [f"{s} {then - at:.2f}" for (s, at), (_, then) in pairwise([*started, ("", end)])]
    queued = started[0][1] - begin
    print(f"  {launcher.program.parents[2].name:12} first token {end - begin:.2f} s after submit "
          f"(until the first stage {queued:.2f}, {', '.join(stages)})")  # fmt: skip
    print(f"               {helpers(cluster, run)}; {silent(launcher, run, folder)}")
    ended(cluster, launcher, run)


def helpers(cluster: Cluster, run: Run) -> str:
    """What the job runs on its first node beside the processes of the deployment, for each of its steps."""
    host = (run.path / "hosts").read_text().split()[1]
    groups = len(run.json("plan.json")["groups"])
    proc = cluster._proc(host) / "root" / "proc"
    sizes = []
    for process in cluster.processes(host):
        names = {Path(word).name for word in process.argv}
        if not names & {"ready_at_once", "python", "true"} and "launch_router" not in str(process):
            with contextlib.suppress(FileNotFoundError):  # it has ended
                said = (proc / str(process.pid) / "smaps_rollup").read_text()
                sizes.append(int(said.split("Pss:")[1].split()[0]))
    each = f"{len(sizes) / groups:.1f} and {sum(sizes) / groups:.0f} KiB a group"
    return f"{len(sizes)} helpers on the first node, {each}"


def silent(launcher: Launcher, run: Run, folder: Path) -> str:
    """How long `status` takes while no worker answers."""
    standins = [int(f.parent.name) for f in Path("/proc").glob("[0-9]*/exe") if points_to(f, folder / "ready_at_once")]
    for pid in standins:
        os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    launcher("status", str(run.job), timeout=120)
    seconds = time.monotonic() - begin
    for pid in standins:
        os.kill(pid, signal.SIGCONT)
    return f"status with {len(standins)} silent workers {seconds:.2f} s"


def points_to(link: Path, target: Path) -> bool:
    try:
        return link.readlink() == target
    except OSError:
        return False


def ended(cluster: Cluster, launcher: Launcher, run: Run) -> None:
    before = len(run.events())
    begin = time.monotonic()
    launcher("cancel", str(run.job), timeout=200)
    said = time.monotonic() - begin
    wait_until(lambda: not cluster.left_over(timeout=0), 200, "the end of all processes", every=0.05)
    gone = time.monotonic() - begin
    since = [(stage, state) for stage, state, _ in run.events()[before:]]
    restarts = sum(state == "restarting" for _, state in since)
    steps = sum(state == "started" and "-" in stage for stage, state in since)
    print(f"               cancel returned after {said:.2f} s, nothing left after {gone:.2f} s, "
          f"{restarts} restarts, {steps} new steps")  # fmt: skip


if __name__ == "__main__":
    tempfile.tempdir = None
    parser = argparse.ArgumentParser()
    parser.add_argument("--beside", type=Path)
    parser.add_argument("nodes", nargs="*", type=int, default=[6, 64, 200])
    given = parser.parse_args()
    for number in given.nodes:
        measure(number, given.beside and given.beside.resolve())
