"""How a job's start and end grow with its nodes: 6, 64 and 200 virtual nodes of a real Slurm, stage by stage.

    python benchmarks/scale.py [NODES ...]          (root; a minute for all three)

Every worker is a stand-in that is ready at once (ready_at_once.c), a node each, behind SGLang's real router: what is
left is sgl-launch's own time and srun's. Beside it stand an `srun -N` of `true` over the same nodes, and as many sruns
of one node each as the job has steps, side by side.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.slurm.cluster import LOGIN, Cluster, wait_until  # noqa: E402
from tests.slurm.deploy import Launcher, Run, shared_folder  # noqa: E402

STAGES = ("nodes", "workers", "frontend", "ready")


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
            "warmup": {"requests": {"enabled": False}},
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


def measure(nodes: int) -> None:
    with Cluster.up(nodes=nodes, gpus=8) as cluster, shared_folder(cluster) as folder:
        whole = timed(cluster, f"srun -N{nodes} --ntasks-per-node=1 true")
        single = timed(cluster, f"salloc -Q -N{nodes} bash -c 'for i in $(seq {nodes}); do "
                                "srun --overlap -N1 -n1 -r$((i-1)) true & done; wait'")  # fmt: skip
        launcher = Launcher(cluster, folder)
        begin = time.time()
        run = launcher.start(launcher.write(config(nodes, standin(folder))), wait=None)
        wait_until(lambda: run.has("ready", "done"), 120, "the first token", every=0.02)
        total = run.event_time("ready", "done") - begin
        at = {stage: run.event_time(stage, "started") for stage in STAGES}
        ends = [*(at[s] for s in STAGES[1:]), run.event_time("ready", "done")]
        sruns = [p for p in cluster.processes(sorted(cluster.hosts)[0]) if p.argv[0] == "srun"]
        stages = ", ".join(f"{s} {end - at[s]:.2f}" for s, end in zip(STAGES, ends, strict=True))
        queued = at["nodes"] - begin
        print(f"{nodes:4} nodes: first token {total:.2f} s after submit (until nodes {queued:.2f}, {stages})")
        print(f"            srun -N{nodes} true {whole:.2f} s; {nodes} sruns of one node side by side {single:.2f} s; "
              f"{len(sruns)} processes of srun on the first node")  # fmt: skip
        ended(cluster, launcher, run)


def ended(cluster: Cluster, launcher: Launcher, run: Run) -> None:
    begin = time.monotonic()
    launcher("cancel", str(run.job))
    said = time.monotonic() - begin
    wait_until(lambda: not cluster.left_over(timeout=0), 120, "the end of all processes", every=0.05)
    gone = time.monotonic() - begin
    events = [state for _, state, _ in run.events()]
    print(f"            cancel returned after {said:.2f} s, nothing left after {gone:.2f} s, "
          f"{events.count('restarting')} restarts")  # fmt: skip


if __name__ == "__main__":
    tempfile.tempdir = None
    for number in map(int, sys.argv[1:] or ("6", "64", "200")):
        measure(number)
