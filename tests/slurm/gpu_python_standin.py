"""Stands in for the Python of a GPU node, where `-m warmup.kernels` runs.

There is no GPU, DeepGEMM or nvcc here: those three are faked, and a "kernel" is a small file. The
manifest, archive, unpacking, locks and command line are the real ones. Called as

    python gpu_python_standin.py -m warmup.kernels ensure|unpack|merge-back ...

Each call adds a line to $STANDIN_LOG. STANDIN_SLEEP: seconds that each kernel takes. STANDIN_COMPILES: a worker has
compiled something before merge-back.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

KERNELS = [f"kernel.smoke.{n:032x}" for n in range(1, 9)]


def write_kernel(folder: Path, name: str) -> None:
    staged = folder / f".staged-{os.getpid()}"
    staged.mkdir(parents=True)
    (staged / "kernel.cu").write_text(f"// {name}\n")
    (staged / "kernel.cubin").write_bytes(b"\x7fELF" + name.encode() * 100)
    target = folder / "cache" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    staged.rename(target)


def fake_build(manifest: Any, folder: Path, *, key: dict[str, str], **_: Any) -> Any:
    from warmup.kernels import build
    from warmup.kernels import folder as cache

    folder.mkdir(mode=0o700, exist_ok=True)

    compiled = 0
    for name in KERNELS:
        if not (folder / "cache" / name).exists():
            time.sleep(float(os.environ.get("STANDIN_SLEEP", "0")))
            write_kernel(folder, name)
            compiled += 1
    record = {n: cache.digest(folder / "cache" / n / "kernel.cubin") for n in cache.kernels(folder)}
    cache.write_record(folder, cache.Record(key, record))
    return build.Result(compiled, len(record))


def main() -> int:
    if sys.argv[1:3] != ["-m", "warmup.kernels"]:
        sys.exit(f"stand-in: only -m warmup.kernels, not {sys.argv[1:]}")
    from warmup.kernels import __main__ as program
    from warmup.kernels import api, probe

    api.find_gpu = lambda: probe.Gpu("sm_90", 132, 8)
    api.find_toolchain = lambda: probe.Toolchain("0.1.4", "0" * 16, "/inc", "13.0", "/nvcc")
    api.build_folder = fake_build
    with open(os.environ["STANDIN_LOG"], "a") as log:
        log.write(f"{socket.gethostname()} {sys.argv[3]}\n")
    if sys.argv[3] == "merge-back" and "STANDIN_COMPILES" in os.environ:
        made = Path(json.loads(Path(sys.argv[4]).read_text())["folder"], "triton", socket.gethostname(), "k.cubin")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text("compiled by a worker")
        os.utime(made, (1, 1))
    return program.main(sys.argv[3:])


if __name__ == "__main__":
    sys.exit(main())
