"""How long a local deployment takes from submit to the first token of a chat answer.

    .venv/bin/python benchmarks/local_start.py [--beside CHECKOUT] [RUNS]

`--beside` runs another checkout of sgl-launch, with a .venv of its own, in turn with this one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BAR = 4.7  # seconds, on an idle machine of two cores


def first_token(checkout: Path, folder: Path) -> float:
    """Seconds from `submit --wait ready` being called to the first byte of text."""
    program = str(checkout / ".venv" / "bin" / "sgl-launch")
    begin = time.perf_counter()
    words = ["submit", str(checkout / "configs/local.yaml"), "--cluster", "local", "--wait", "ready"]
    done = subprocess.run(
        [program, *words, "--parsable"], cwd=folder, check=True, stdout=subprocess.PIPE, text=True,
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
        subprocess.run([program, "cancel", job], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--beside", type=Path)
    parser.add_argument("runs", nargs="?", type=int, default=3)
    given = parser.parse_args()
    checkouts = [ROOT, *([given.beside.resolve()] if given.beside else [])]
    times: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
    for _ in range(given.runs):
        for checkout in checkouts:
            with tempfile.TemporaryDirectory() as folder:
                times[checkout].append(first_token(checkout, Path(folder)))
    for checkout, found in times.items():
        every = ", ".join(f"{t:.1f}" for t in found)
        median = statistics.median(found)
        print(f"{checkout.name}: submit to first token: median {median:.1f} s of {every}; bar {BAR} s")
    return int(statistics.median(times[ROOT]) > BAR)


if __name__ == "__main__":
    sys.exit(main())
