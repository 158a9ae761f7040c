"""A compiler and a kernel finder that need no GPU, run as real processes.

The fake nvcc takes a stated time and writes a cubin that begins like one; the fake finder does
what DeepGEMM does: writes a source, calls the compiler that its environment names, and leaves
both files in a folder named after the source.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

from warmup.kernels import Manifest, Toolchain, known_config, plan_role

ROOT = Path(__file__).resolve().parents[2]

NVCC = """#!{python}
import os, sys, time
words = sys.argv[1:]
if "--version" in words:
    print("Cuda compilation tools, release 13.0, V13.0.88"); sys.exit(0)
source = next(w for w in words if w.endswith(".cu"))
target = words[words.index("-o" if "-o" in words else "--output-file") + 1]
text = open(source).read()
with open("{calls}", "a") as log:
    log.write(os.path.basename(os.path.dirname(source)) + "\\n")
if "stand_in" not in text:
    time.sleep({seconds})
if "refuse me" in text:
    print("kernel.cu(1): error: refused"); sys.exit(1)
with open(target, "wb") as out:
    out.write(b"\\x7fELF half")
    out.flush()
    time.sleep({seconds} / 2 if "stand_in" not in text else 0)
    out.write(text.encode())
"""

FINDER = """
import hashlib, json, os, pathlib, subprocess, sys
job = json.load(open(sys.argv[1]))
nvcc = os.environ["DG_JIT_NVCC_COMPILER"]
subprocess.run([nvcc, "--version"], check=True, stdout=subprocess.DEVNULL)
met = 0
for index, hand in enumerate(job["hands"]):
    base = pathlib.Path(job["folder"]) / f"found.{{index}}"
    for number in range({count}):
        text = "// kernel %d{mark}\\n" % number
        name = ("fake." if {newer} else "kernel.fake.") + hashlib.md5(text.encode()).hexdigest()
        made = base / "tmp" / name
        made.mkdir(parents=True)
        (made / "kernel.cu").write_text(text)
        ask = "--cubin --output-file" if {newer} else "-cubin -o"
        subprocess.run(
            f"cd {{made}} && {{nvcc}} {{made}}/kernel.cu {{ask}} {{made}}/kernel.cubin -O3 -Ix",
            shell=True, check=True)
        if {newer}:
            (made / "meta.json").write_text(json.dumps({{"command": nvcc}}))
            (made / ".committed").write_text("")
        (base / "cache").mkdir(exist_ok=True)
        made.rename(base / "cache" / name)
        met += 1
    (pathlib.Path(job["folder"]) / f"done.{{index}}").write_text(f"{{met}}\\n")
sys.exit({status})
"""

BUILD = """
import sys
sys.path[:0] = [{root!r}, {here!r}]
from pathlib import Path
from kernels_fakes import manifest, toolchain
from warmup.kernels import build_folder
build_folder(manifest(), Path({folder!r}), key={{"k": "1", "shapes": "1"}}, toolchain=toolchain(Path({nvcc!r})),
             arch="sm_90", jobs={jobs}, finder=[sys.executable, {finder!r}])
"""


def fake_nvcc(folder: Path, seconds: float = 0.0) -> Path:
    """An executable nvcc; the kernels that it was asked for are lines of `calls` beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "nvcc"
    file.write_text(NVCC.format(python=sys.executable, seconds=seconds, calls=folder / "calls"))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def compiled(nvcc: Path) -> list[str]:
    """Names of the kernels that the fake compiler was asked for, with repeats."""
    calls = nvcc.parent / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    return [line for line in lines if line.startswith("kernel.")]


def fake_finder(folder: Path, count: int = 6, mark: str = "", status: int = 0, newer: bool = False) -> list[str]:
    """A finder command that meets `count` kernels in every worker, in DeepGEMM's older layout or
    in that of 0.2.3."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "finder.py"
    file.write_text(FINDER.format(count=count, mark=mark, status=status, newer=newer))
    return [sys.executable, str(file)]


def toolchain(nvcc: Path) -> Toolchain:
    return Toolchain("0.0.1", "headers", "/include", "13.0", str(nvcc))


def manifest() -> Manifest:
    config = known_config("deepseek-ai/DeepSeek-R1")
    assert config is not None
    return plan_role(config, "aggregated", {"tp-size": 8})


def build_script(folder: Path, nvcc: Path, finder: list[str], jobs: int = 2) -> list[str]:
    """A command that builds in a process of its own, to be killed from outside."""
    text = BUILD.format(
        root=str(ROOT), here=str(Path(__file__).parent), folder=str(folder), nvcc=str(nvcc),
        jobs=jobs, finder=finder[1],
    )  # fmt: skip
    return [sys.executable, "-c", text]


def kernel(folder: Path, name: str, text: str = "x") -> Path:
    """A whole kernel in a cache folder."""
    place = folder / "cache" / name
    place.mkdir(parents=True)
    (place / "kernel.cu").write_text(f"// {text}\n")
    (place / "kernel.cubin").write_bytes(b"\x7fELF" + text.encode() * 100)
    return place


def files(folder: Path) -> dict[str, bytes]:
    """Every file of the cache proper, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "cache").rglob("*"))
        if path.is_file()
    }


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def cached(folder: Path, path: str, data: bytes, mode: int = 0o600, mtime_ns: int = 1_700_000_000_000_000_000) -> Path:
    """A file that some compiler keeps, long since written."""
    file = folder / path
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_bytes(data)
    file.chmod(mode)
    os.utime(file, ns=(mtime_ns, mtime_ns))
    return file


def key_fields(**changes: Any) -> dict[str, str]:
    fields = {
        "gpu": "sm_90x132", "driver": "580.1", "image": "dynamo.sqsh", "model": "deepseek-ai/DeepSeek-R1",
        "python": "3.12 /usr", "packages": "sglang 0.5.16", "nvcc": "13.0 /nvcc", "headers": "abc /opt/include",
        "folder": "/tmp/kernels-0/abc",
    }  # fmt: skip
    return {**fields, **changes}
