"""How long a local deployment takes from submit to the first token of a chat answer.

.venv/bin/python benchmarks/local_start.py [RUNS]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent / "sgl-launch"
BAR = 15.0  # seconds


def first_token(folder: Path) -> float:
    """Seconds from `submit --wait ready` being called to the first byte of text."""
    begin = time.perf_counter()
    words = ["submit", str(ROOT / "configs/local.yaml"), "--cluster", "local", "--wait", "ready"]
    done = subprocess.run(
        [str(BIN), *words, "--parsable"], cwd=folder, check=True, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    job = done.stdout.strip()
    try:
        endpoint = json.loads((folder / f"runs/demo-{job}/endpoint.json").read_text())
        key = (folder / f"runs/demo-{job}/secrets/endpoint-key").read_text()
        body = {
            "model": endpoint["model"],
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 8,
            "stream": True,
        }
        request = urllib.request.Request(
            f"{endpoint['url']}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            for line in answer:
                if b'"content":"' in line and b'"content":""' not in line:
                    return time.perf_counter() - begin
        raise RuntimeError("the answer had no text")
    finally:
        subprocess.run([str(BIN), "cancel", job], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        times = [first_token(Path(folder)) for _ in range(runs)]
    found = statistics.median(times)
    every = ", ".join(f"{t:.1f}" for t in times)
    verdict = "ok" if found <= BAR else "MISSED"
    print(f"submit to first token: median {found:.1f} s of {every}   bar {BAR:.0f} s   {verdict}")
    return int(found > BAR)


if __name__ == "__main__":
    sys.exit(main())
