"""What on this machine decides a kernel's bytes and name: GPU, DeepGEMM, nvcc.

Read without importing torch or deep_gemm, so that a node knows in a second whether an archive fits.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# CUdevice_attribute, cuda.h
SM_COUNT, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 75, 76

PACKAGES = (
    "sglang", "torch", "triton", "flashinfer-python", "apache-tvm-ffi", "sgl-kernel", "sglang-kernel", "sgl-deep-gemm",
    "deep-gemm", "deep-ep", "nvidia-cutlass-dsl", "tilelang", "quack-kernels", "flash-attn-4", "ai-dynamo",
)  # fmt: skip


class ProbeError(RuntimeError):
    """Something that a build needs is not on this machine; the message says what."""


@dataclass(frozen=True)
class Gpu:
    """arch: 'sm_90'. sms: SM count, part of every kernel's source. count: GPUs visible here."""

    arch: str
    sms: int
    count: int

    @property
    def name(self) -> str:
        """Such as 'sm_90x132': H100, H200 and H20 share an architecture, not an SM count."""
        return f"{self.arch}x{self.sms}"


@dataclass(frozen=True)
class Toolchain:
    """deep_gemm: package version. headers: digest of DeepGEMM's own headers. include_path: where
    they lie, part of the cache key of most versions. nvcc: 'release' number, nvcc_path its file."""

    deep_gemm: str
    headers: str
    include_path: str
    nvcc: str
    nvcc_path: str


def find_gpu() -> Gpu:
    """Ask the driver, without making a CUDA context. Raises ProbeError without a usable GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise ProbeError(
            "no NVIDIA driver here (libcuda.so.1); build on a GPU node, or in a container that is started with its GPUs"
        ) from error

    def ask(name: str, *arguments: object) -> None:
        code = getattr(driver, name)(*arguments)
        if code:
            raise ProbeError(f"{name} failed with CUDA error {code}; is a GPU visible here?")

    number, value = ctypes.c_int(), ctypes.c_int()
    ask("cuInit", 0)
    ask("cuDeviceGetCount", ctypes.byref(number))
    if number.value < 1:
        raise ProbeError("the driver shows no GPU; check CUDA_VISIBLE_DEVICES and the job's GPUs")
    facts = []
    for attribute in (SM_COUNT, CAPABILITY_MAJOR, CAPABILITY_MINOR):
        ask("cuDeviceGetAttribute", ctypes.byref(value), attribute, 0)
        facts.append(value.value)
    return Gpu(arch=f"sm_{facts[1]}{facts[2]}", sms=facts[0], count=number.value)


def find_driver() -> str:
    """The driver's version, '580.95.05'; 'unknown' where the kernel does not say it."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    match = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", text)
    return match[0] if match else "unknown"


def find_packages() -> str:
    """Versions of what compiles, or decides what is compiled: 'sglang 0.5.16, torch 2.11.0, ...'."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def find_toolchain() -> Toolchain:
    """Locate DeepGEMM and the nvcc that it would call. Raises ProbeError naming what is missing."""
    spec = importlib.util.find_spec("deep_gemm")
    if spec is None or not spec.submodule_search_locations:
        raise ProbeError("deep_gemm is not installed for this Python; run inside the serving image")
    folder = Path(next(iter(spec.submodule_search_locations))).resolve()
    include = folder / "include"
    if not include.is_dir():
        raise ProbeError(f"{include} is missing: this deep_gemm cannot compile kernels")
    nvcc = find_nvcc()
    # The path as deep_gemm sees it: it is part of the compiler flags that its cache key holds.
    seen = Path(next(iter(spec.submodule_search_locations)))
    return Toolchain(
        deep_gemm=_version(folder),
        headers=_headers_digest(include / "deep_gemm"),
        include_path=str(seen / "include"),
        nvcc=nvcc_release(nvcc),
        nvcc_path=nvcc,
    )


def find_nvcc() -> str:
    """The compiler that DeepGEMM calls: its own variable, CUDA_HOME, PATH, /usr/local/cuda."""
    override = os.environ.get("DG_JIT_NVCC_COMPILER")
    if override:
        return override
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home is None:
        found = shutil.which("nvcc")
        home = str(Path(found).parent.parent) if found else "/usr/local/cuda"
    nvcc = Path(home) / "bin" / "nvcc"
    if not nvcc.exists():
        raise ProbeError(f"{nvcc} is missing; set CUDA_HOME to a CUDA toolkit with nvcc")
    return str(nvcc)


def nvcc_release(nvcc: str) -> str:
    """'13.0' from 'nvcc --version'. Raises ProbeError when it does not run or says nothing."""
    try:
        done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ProbeError(f"{nvcc} --version failed: {error}") from error
    match = re.search(r"release (\d+\.\d+)", done.stdout)
    if match is None:
        raise ProbeError(f"{nvcc} --version names no release: {done.stdout[:200]!r}")
    return match[1]


def _version(folder: Path) -> str:
    file = folder / "VERSION"
    if file.is_file():
        return file.read_text(encoding="utf-8").strip()
    for name in ("sgl-deep-gemm", "deep-gemm", "deep_gemm"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _headers_digest(folder: Path) -> str:
    """DeepGEMM hashes its headers into the cache key; so does the archive's key."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
