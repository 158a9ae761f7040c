"""How quickly the command line answers: median of 10 runs, against its bar.

.venv/bin/python benchmarks/cli.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent / "sgl-launch"
BARS = {  # seconds
    ("--help",): 0.15,
    ("plan", "configs/dsr1.yaml"): 0.4,
}


def median(words: tuple[str, ...], runs: int = 10) -> float:
    """Median wall time of the command, in seconds, after one run that fills the page cache."""
    times = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        subprocess.run([str(BIN), *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def main() -> int:
    missed = 0
    for words, bar in BARS.items():
        found = median(words)
        missed += found > bar
        verdict = "ok" if found <= bar else "MISSED"
        print(f"sgl-launch {' '.join(words):<24} {found:6.3f} s   bar {bar:.2f} s   {verdict}")
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
