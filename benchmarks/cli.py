"""How quickly the command line answers, as processor time and as multiples of Python's own start, against its bar.

    .venv/bin/python benchmarks/cli.py [--beside CHECKOUT]

Processor time (user and system, the least of ten runs) is the wall time of an idle machine, and the same on one that is
busy with something else. `--beside` measures another checkout too, with a .venv of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

ROOT = Path(__file__).resolve().parent.parent
CONFIG = str(ROOT / "configs" / "dsr1.yaml")
BARS = {  # seconds
    ("--help",): 0.03,
    ("status", "runs/dsr1-1"): 0.15,
    ("plan", CONFIG): 0.12,
    ("render", CONFIG): 0.2,
}


def least(words: list[str], folder: str, runs: int = 10) -> float:
    """Processor seconds, after one run that fills the page cache."""
    times = []
    for _ in range(runs + 1):
        begin = getrusage(RUSAGE_CHILDREN)
        subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = getrusage(RUSAGE_CHILDREN)
        times.append(end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime)
    return min(times[1:])


def a_run(program: Path, folder: str) -> None:
    """The folder of a run that has ended, so that no other program is asked about it."""
    run = Path(folder) / "runs" / "dsr1-1"
    run.mkdir(parents=True, exist_ok=True)
    plan = subprocess.run([program, "plan", CONFIG, "--json"], check=True, stdout=subprocess.PIPE).stdout
    (run / "plan.json").write_bytes(plan)
    end = {"time": 1.0, "stage": "stop", "state": "done", "detail": "exit status 0"}
    (run / "events.jsonl").write_text(json.dumps(end) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--beside", type=Path)
    beside = parser.parse_args().beside
    missed = 0
    for checkout in filter(None, (beside and beside.resolve(), ROOT)):
        program = checkout / ".venv" / "bin" / "sgl-launch"
        with tempfile.TemporaryDirectory() as folder:
            a_run(program, folder)
            start = least([str(program.with_name("python")), "-c", "pass"], folder)
            print(f"{checkout.name}: python -c pass {start:.3f} s")
            for words, bar in BARS.items():
                found = least([str(program), *words], folder)
                missed += checkout == ROOT and found > bar
                shown = " ".join(Path(w).name for w in words)
                print(f"  sgl-launch {shown:<16} {found:6.3f} s, {found / start:4.1f} times python's; bar {bar} s")
    return min(missed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
