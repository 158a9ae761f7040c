"""One rank of an all-reduce over a worker group's nodes: NAME RANK WORLD ADDRESS PORT SECONDS.

Prints one line, `SGL_NET {...}`: what carried the data, the rate of each link's busier direction in GiB/s ("bus
bandwidth" of nccl-tests: 2(n-1)/n of the data for n ranks), and what the link should give. Always ends by itself.
Runs in the workers' Python.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

NUMBERS = {"cuda": 64 << 20, "cpu": 4 << 20}  # of four bytes: 256 MiB, where NCCL comes near its best, and 16 MiB
WARM_UP, TIMES = 3, 10
GB = 1e9 / (1 << 30)  # GB/s in GiB/s
lock = threading.Lock()


def end(state: str, text: str, **more: float | str) -> None:
    """Say it once, and be gone: what hangs in a library does not keep us."""
    if not lock.acquire(blocking=False):
        return
    name, rank = sys.argv[1], int(sys.argv[2])
    found = {"what": "allreduce", "name": name, "rank": rank, "state": state, "text": text, **more}
    # in one write: others write to the same pipe, and print() may take two (PYTHONUNBUFFERED)
    os.write(1, f"SGL_NET {json.dumps(found)}\n".encode())
    os._exit(0)


def transport(log: str) -> tuple[str, str]:
    """What NCCL's own log (NCCL_DEBUG=INFO) says of the way between ranks: ("IB", "mlx5_0"), ("Socket", "eth0"),
    ("P2P", ""), ("SHM", ""), ("", "") where it says nothing. Another node is the slowest way, so it counts first."""
    network = re.search(r"via NET/(\w+)/(\d+)", log)
    if network:
        devices = re.search(rf"NET/{network[1]} ?: Using (.*)", log)
        device = re.search(rf"\[{network[2]}\]([^\s:]+)", devices[1]) if devices else None
        return network[1], device[1] if device else ""
    return ("P2P" if "via P2P" in log else "SHM" if "via SHM" in log else ""), ""


def link(kind: str, device: str, system: Path = Path("/sys/class")) -> tuple[str, float]:
    """The transport's name for people, and what it should give in GiB/s and direction; 0 where nobody says."""
    if kind == "P2P":
        lanes = nvlinks()
        return ("NVLink" if lanes else "PCIe"), sum(lanes) * GB
    if kind == "IB":
        port = next(iter(sorted((system / "infiniband" / device / "ports").glob("*"))), None)
        layer, rate = (read(port / name) if port else "" for name in ("link_layer", "rate"))
        gigabits = float(rate.split()[0]) if rate[:1].isdigit() else 0.0  # "400 Gb/sec (4X NDR)"
        return f"{'RoCE' if layer == 'Ethernet' else 'InfiniBand'} ({device})", gigabits / 8 * GB
    if kind == "Socket":
        megabits = read(system / "net" / device / "speed")
        return f"TCP ({device})", int(megabits) / 8000 * GB if megabits.isdecimal() else 0.0
    return {"SHM": "shared memory", "": ""}.get(kind, kind), 0.0


def nvlinks() -> list[float]:
    """GB/s of each NVLink of this process's GPU, by nvidia-smi ("Link 0: 26.562 GB/s")."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    try:
        said = subprocess.run(["nvidia-smi", "nvlink", "-s", "-i", gpu], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [float(rate) for rate in re.findall(r"Link \d+: ([\d.]+) GB/s", said.stdout)]


def idle_fabric(kind: str, system: Path = Path("/sys/class")) -> str:
    """A doubt where NCCL goes over TCP although the node has a live InfiniBand or RoCE port."""
    states = (system / "infiniband").glob("*/ports/*/state")
    live = sorted({f.parts[-4] for f in states if "ACTIVE" in read(f)})
    return f"NCCL goes over TCP although the node has {', '.join(live)}" if kind == "Socket" and live else ""


def read(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def main() -> None:
    rank, world, address, port, seconds = sys.argv[2:7]
    try:
        import torch
        import torch.distributed as dist
    except ImportError:
        end("none", f"no torch in {sys.executable}")
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    backend = "nccl" if kind == "cuda" else "gloo"
    log = Path(tempfile.mkstemp(prefix="nccl-", suffix=".log")[1])
    os.environ.update(NCCL_DEBUG="INFO", NCCL_DEBUG_SUBSYS="INIT,NET,P2P,SHM", NCCL_DEBUG_FILE=str(log))
    dist.init_process_group(
        backend,
        init_method=f"tcp://{address}:{port}",
        rank=int(rank),
        world_size=int(world),
        timeout=timedelta(seconds=float(seconds)),
    )
    numbers = torch.zeros(NUMBERS[kind], device=kind)

    def wait() -> None:
        if kind == "cuda":
            torch.cuda.synchronize()

    for _ in range(WARM_UP):
        dist.all_reduce(numbers)
    wait()
    begin = time.perf_counter()
    for _ in range(TIMES):
        dist.all_reduce(numbers)
    wait()
    taken = (time.perf_counter() - begin) / TIMES
    numbers.fill_(1.0)
    dist.all_reduce(numbers)
    least, most = float(numbers.min()), float(numbers.max())
    if least != float(world) or most != float(world):
        end("bad", f"the sum of {world} ones is {least:g} to {most:g}")
    rate = 2 * (int(world) - 1) / int(world) * 4 * numbers.numel() / taken / (1 << 30)
    way, device = transport(read(log))
    log.unlink()
    name, should = link(way, device)
    end("ok", f"{backend} over {name}" if name else backend, rate=rate, link=should, doubt=idle_fabric(way))


if __name__ == "__main__":
    limit = float(sys.argv[6]) + 5
    watchdog = threading.Timer(limit, end, ("bad", f"nothing came of it within {limit:g} s"))
    watchdog.daemon = True
    watchdog.start()
    try:
        main()
    except Exception as e:
        end("bad", str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__)
