"""`make demo`: submit configs/local.yaml on this machine, ask it a question, show its status."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent / "sgl-launch"


def main() -> int:
    begin = time.monotonic()
    for words in (
        ["submit", "configs/local.yaml", "--cluster", "local", "--wait", "warm"],
        ["chat", "--message", "What is a worker group?"],
        ["status"],
    ):
        print(f"\n$ sgl-launch {' '.join(words)}", flush=True)
        done = subprocess.run([str(BIN), *words])
        if done.returncode:
            return done.returncode
    print(f"\n{time.monotonic() - begin:.0f} s. End it with: .venv/bin/sgl-launch cancel demo")
    return 0


if __name__ == "__main__":
    sys.exit(main())
