"""One rank of an all-reduce over a worker group's nodes: NAME RANK WORLD ADDRESS PORT SECONDS.

Prints one line, `SGL_NET {...}`, and always ends by itself. Runs in the workers' Python.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from datetime import timedelta

NAME, RANK, WORLD, ADDRESS, PORT, SECONDS = sys.argv[1:7]
SIZE = 4 << 20  # numbers of four bytes
TIMES = 5
lock = threading.Lock()


def end(state: str, text: str, rate: float = 0.0) -> None:
    """Say it once, and be gone: what hangs in a library does not keep us."""
    if not lock.acquire(blocking=False):
        return
    found = {"what": "allreduce", "name": NAME, "rank": int(RANK), "state": state, "text": text, "rate": rate}
    # in one write: others write to the same pipe, and print() may take two (PYTHONUNBUFFERED)
    os.write(1, f"SGL_NET {json.dumps(found)}\n".encode())
    os._exit(0)


def main() -> None:
    try:
        import torch
        import torch.distributed as dist
    except ImportError:
        end("none", f"no torch in {sys.executable}")
    cuda = torch.cuda.is_available()
    backend = "nccl" if cuda else "gloo"
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    dist.init_process_group(
        backend,
        init_method=f"tcp://{ADDRESS}:{PORT}",
        rank=int(RANK),
        world_size=int(WORLD),
        timeout=timedelta(seconds=float(SECONDS)),
    )
    ones = torch.ones(SIZE, device=device)
    dist.all_reduce(ones)
    begin = time.perf_counter()
    for _ in range(TIMES):
        ones.fill_(1.0)
        dist.all_reduce(ones)
    least, most = float(ones.min()), float(ones.max())  # waits for the GPU
    taken = (time.perf_counter() - begin) / TIMES
    if least != float(WORLD) or most != float(WORLD):
        end("bad", f"the sum of {WORLD} ones is {least:g} to {most:g}")
    end("ok", backend, 4 * SIZE / taken / (1 << 30))


if __name__ == "__main__":
    watchdog = threading.Timer(float(SECONDS) + 5, end, ("bad", f"nothing came of it within {float(SECONDS) + 5:g} s"))
    watchdog.daemon = True
    watchdog.start()
    try:
        main()
    except Exception as e:
        end("bad", str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__)
