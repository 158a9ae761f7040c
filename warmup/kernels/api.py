"""The warm-up of kernels in the steps that a command or a job's script calls."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from warmup.caches import FOLDERS, archive, store
from warmup.caches.folder import require_own, require_room
from warmup.caches.key import CacheKey
from warmup.caches.writing import ArchiveError

from . import folder as cache_folder
from .build import Progress, Result, build_folder
from .job import Job
from .manifest import Manifest
from .probe import Gpu, ProbeError, Toolchain, find_driver, find_gpu, find_nvcc, find_packages, find_toolchain
from .probe import nvcc_release as release

DEEPGEMM = FOLDERS["SGLANG_DG_CACHE_DIR"]


@dataclass(frozen=True)
class Target:
    """What this machine would build for, and the archive key that follows. toolchain: None without DeepGEMM."""

    gpu: Gpu
    toolchain: Toolchain | None
    key: CacheKey


@dataclass(frozen=True)
class Outcome:
    """how: 'present', 'unpacked', 'built', or 'empty' where there is no archive and nothing that could be built ahead.
    kernels: DeepGEMM's, of the plan. files: brought by the archive. read_bytes: of it. refused: why an archive there
    was not used. complete: every kernel of the plan is there."""

    how: str
    kernels: int = 0
    compiled: int = 0
    files: int = 0
    read_bytes: int = 0
    archive: str = ""
    refused: str = ""
    seconds: float = 0.0
    complete: bool = True


def target(job: Job) -> Target:
    """Look at this machine, inside the serving image. Raises probe.ProbeError when there is no GPU, or no DeepGEMM or
    nvcc for a plan that needs them."""
    gpu, toolchain, nvcc = find_gpu(), None, "none"
    try:
        toolchain = find_toolchain()
        nvcc = f"{toolchain.nvcc} {toolchain.nvcc_path}"
    except ProbeError:
        if job.manifest is not None:
            raise
        with contextlib.suppress(ProbeError):
            nvcc = f"{release(find_nvcc())} {find_nvcc()}"
    key = CacheKey(
        gpu=gpu.name,
        driver=find_driver(),
        image=job.image,
        model=job.model,
        python=f"{platform.python_version()} {sys.prefix}",
        packages=find_packages(),
        nvcc=nvcc,
        headers=f"{toolchain.headers} {toolchain.include_path}" if toolchain else "none",
        folder=job.usual,
    )
    return Target(gpu, toolchain, key)


def build_here(
    manifest: Manifest,
    folder: Path,
    *,
    jobs: int | None = None,
    nice: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
    gpu: Gpu | None = None,
    toolchain: Toolchain | None = None,
) -> Result:
    """Build into a folder (SGLANG_DG_CACHE_DIR) on this machine; see build.build_folder."""
    gpu, toolchain = gpu or find_gpu(), toolchain or find_toolchain()
    return build_folder(
        manifest,
        folder,
        key=build_key(manifest, gpu, toolchain),
        toolchain=toolchain,
        arch=gpu.arch,
        jobs=jobs,
        nice=nice,
        on_progress=on_progress,
    )


def build_key(manifest: Manifest, gpu: Gpu, toolchain: Toolchain) -> dict[str, str]:
    """What DeepGEMM's kernels of a plan depend on."""
    return {
        "gpu": gpu.name,
        "deep_gemm": toolchain.deep_gemm,
        "headers": toolchain.headers,
        "nvcc": toolchain.nvcc,
        "include_path": toolchain.include_path,
        "shapes": manifest.digest,
    }


def ensure(
    job: Job,
    *,
    jobs: int | None = None,
    nice: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
    on_refused: Callable[[str], None] | None = None,
) -> Outcome:
    """Have the caches in the job's folder: there already, unpacked, or DeepGEMM's kernels built and packed.

    An archive that is refused is named through on_refused, rebuilt and replaced; one of a user who is neither this one
    nor root nor trusted stays, and this user's own goes beside it.
    """
    goal = target(job)
    seeded = seed(job, goal)
    if on_refused and seeded.refused:
        on_refused(seeded.refused)
    if job.manifest is None or goal.toolchain is None or (seeded.complete and seeded.how != "empty"):
        return seeded
    result = build_here(
        job.manifest, job.folder / DEEPGEMM, jobs=jobs, nice=nice, on_progress=on_progress, gpu=goal.gpu,
        toolchain=goal.toolchain,
    )  # fmt: skip
    packed = pack_here(job, goal, quiet_s=0)[0]
    return Outcome(
        "built", result.total, result.compiled, seeded.files, seeded.read_bytes, packed, seeded.refused, result.total_s
    )


def seed(job: Job, goal: Target | None = None) -> Outcome:
    """A node's step before its workers start: what the archive that fits holds, if there is one. Raises FolderError."""
    began = time.monotonic()
    require_own(job.folder)
    require_room(job.folder, 0)
    goal = goal or target(job)
    file = archive.place(job.cache_dir, goal.key, job.trusted)
    how, refused, files, size = "empty", "", 0, 0
    if file.name != goal.key.file_name:
        refused = f"{job.cache_dir / goal.key.file_name}: belongs to a user who is not in warmup.kernels.trusted_owners"
    try:
        contents = archive.unpack(file, job.folder, goal.key, job.trusted)
        how = "present" if contents is None else "unpacked"
        if contents is not None:
            files, size = len(contents.files), file.stat().st_size
        store.touch(file)
    except FileNotFoundError:
        pass
    except ArchiveError as error:
        refused = str(error)
    kernels, complete = 0, job.manifest is None
    if job.manifest is not None and goal.toolchain is not None:
        folder = job.folder / DEEPGEMM
        record = cache_folder.read_record(folder, build_key(job.manifest, goal.gpu, goal.toolchain))
        complete = record is not None and not cache_folder.unfinished(folder, record)
        kernels = len(record.kernels) if record and complete else 0
    seconds = time.monotonic() - began
    return Outcome(how, kernels, 0, files, size, str(file), refused, seconds, complete)


def pack_here(job: Job, goal: Target | None = None, quiet_s: float | None = None) -> tuple[str, list[str]]:
    """A node's step once its workers are warm: what is new is added to the archive. Returns its path and the new files'
    paths. Raises ArchiveError, FolderError."""
    if str(job.folder) != job.usual:
        return "", []  # in a folder of another name, what Triton and ninja note is of no use to the next job
    goal = goal or target(job)
    options = {} if quiet_s is None else {"quiet_s": quiet_s}
    packed, new = archive.pack(job.folder, job.cache_dir, goal.key, job.trusted, **options)
    return str(packed), new


def serve_env(folder: Path, complete: bool = True) -> dict[str, str]:
    """Environment for a worker that starts on a filled folder.

    complete: switch SGLang's own sweep off. It would find every kernel and still run each shape at
    every M, for nothing.
    """
    env = {"SGLANG_DG_CACHE_DIR": os.fspath(folder)}
    if complete:
        env["SGLANG_JIT_DEEPGEMM_PRECOMPILE"] = "0"
    return env
