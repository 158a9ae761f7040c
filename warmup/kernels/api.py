"""The warm-up of kernels in the steps that a command or a job's script calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from . import archive as archives
from . import folder as cache_folder
from . import store
from .build import Progress, Result, build_folder
from .manifest import Manifest
from .probe import Gpu, Toolchain, find_gpu, find_toolchain


@dataclass(frozen=True)
class Target:
    """What this machine would build for, and the archive key that follows."""

    gpu: Gpu
    toolchain: Toolchain
    key: archives.CacheKey


@dataclass(frozen=True)
class Outcome:
    """how: 'present', 'unpacked' or 'built'. refused: why an archive there was not used."""

    how: str
    kernels: int
    compiled: int
    archive: Path | None
    refused: str | None
    seconds: float


def target(manifest: Manifest, image: str) -> Target:
    """Look at this machine, inside the serving image. image: its name, part of the key.

    Raises probe.ProbeError when there is no GPU, DeepGEMM or nvcc.
    """
    gpu, toolchain = find_gpu(), find_toolchain()
    key = archives.CacheKey(
        gpu=gpu.name,
        deep_gemm=toolchain.deep_gemm,
        headers=toolchain.headers,
        nvcc=toolchain.nvcc,
        include_path=toolchain.include_path,
        image=image,
        shapes=manifest.digest,
    )
    return Target(gpu, toolchain, key)


def build_here(
    manifest: Manifest,
    folder: Path,
    image: str = "",
    *,
    jobs: int | None = None,
    nice: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Build into a folder on this machine; see build.build_folder."""
    goal = target(manifest, image)
    return build_folder(
        manifest,
        folder,
        key=goal.key.to_json(),
        toolchain=goal.toolchain,
        arch=goal.gpu.arch,
        jobs=jobs,
        nice=nice,
        on_progress=on_progress,
    )


def ensure(
    manifest: Manifest,
    folder: Path,
    cache_dir: Path,
    image: str = "",
    *,
    jobs: int | None = None,
    nice: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
    on_refused: Callable[[str], None] | None = None,
    trusted: Collection[int] = (),
) -> Outcome:
    """Have the kernels in `folder`: there already, unpacked from cache_dir, or built and packed.

    An archive that is refused is named through on_refused, rebuilt and replaced; one of a user who is neither this one
    nor root nor `trusted` (user ids) stays, and this user's own goes beside it.
    """
    cache_folder.require_own(folder)
    goal = target(manifest, image)
    file = archives.place(cache_dir, goal.key, trusted)
    if on_refused and file.name != goal.key.file_name:
        on_refused(f"{cache_dir / goal.key.file_name}: belongs to a user who is not in warmup.kernels.trusted_owners")
    refused: str | None = None
    record = cache_folder.read_record(folder)
    if (
        record is not None
        and record.key == goal.key.to_json()
        and not cache_folder.unfinished(folder, record)
        and file.exists()
    ):
        return Outcome("present", len(record.kernels), 0, file, None, 0.0)
    try:
        contents = archives.unpack(file, folder, goal.key, trusted)
    except FileNotFoundError:
        pass
    except archives.ArchiveError as error:
        refused = str(error)
        if on_refused:
            on_refused(refused)
    else:
        store.touch(file)
        return Outcome("unpacked", len(contents.kernels), 0, file, None, 0.0)
    result = build_folder(
        manifest,
        folder,
        key=goal.key.to_json(),
        toolchain=goal.toolchain,
        arch=goal.gpu.arch,
        jobs=jobs,
        nice=nice,
        on_progress=on_progress,
    )
    packed = archives.pack(folder, cache_dir, goal.key, trusted)
    return Outcome("built", result.total, result.compiled, packed, refused, result.total_s)


def unpack_here(
    manifest: Manifest, folder: Path, cache_dir: Path, image: str = "", trusted: Collection[int] = ()
) -> Outcome:
    """A node's step before its workers start. Raises FileNotFoundError, archive.ArchiveError."""
    goal = target(manifest, image)
    file = archives.place(cache_dir, goal.key, trusted)
    contents = archives.unpack(file, folder, goal.key, trusted)
    store.touch(file)
    return Outcome("unpacked", len(contents.kernels), 0, file, None, 0.0)


def merge_back_here(
    manifest: Manifest, folder: Path, cache_dir: Path, image: str = "", trusted: Collection[int] = ()
) -> list[str]:
    """A node's step after its workers ended: names of the kernels that were new."""
    return archives.merge_back(folder, cache_dir, target(manifest, image).key, trusted)


def serve_env(folder: Path, complete: bool = True) -> dict[str, str]:
    """Environment for a worker that starts on a filled folder.

    complete: switch SGLang's own sweep off. It would find every kernel and still run each shape at
    every M, for nothing.
    """
    env = {"SGLANG_DG_CACHE_DIR": os.fspath(folder)}
    if complete:
        env["SGLANG_JIT_DEEPGEMM_PRECOMPILE"] = "0"
    return env
