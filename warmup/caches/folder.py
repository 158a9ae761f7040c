"""A node's folder of caches: of this user alone, what in it is whole, and how an archive's files come into it.

    <folder>/deepgemm/ triton/ flashinfer/ ...    one a cache (warmup.caches.FOLDERS)
    <folder>/.seeded                              which archive's files are there
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import LEFT_OUT, TOP

LOCK, STAGING, SEEDED = ".lock", ".staging", ".seeded"
QUIET_S = 3.0  # a compiler may still write what has changed later than this many seconds ago
ELF = b"\x7fELF"
# Of a DeepGEMM kernel; the last two only in newer versions, which take a folder only with its marker.
KERNEL_FILES = ("kernel.cu", "kernel.cubin")
META, COMMITTED = "meta.json", ".committed"
KNOWN = (*KERNEL_FILES, META, COMMITTED)
_KERNEL = re.compile(r"deepgemm/cache/[^/]+/([^/]+)")
# Locks, half-written files and logs of the caches themselves
_PASSING = re.compile(
    r"locks?|.*\.lock|tmp|tmp[._].*|.*\.tmp|__pycache__|\.(?:lock|staging|merge|seeded).*|found\.json|"
    r"gpu_p2p_.*"  # which GPUs of one node reach each other
)


class FolderError(RuntimeError):
    """A folder of caches that cannot be used; the message names it."""


class ForeignFolder(FolderError):
    """A folder that others have made or may write to: what is in it would run as ours."""


def require_own(folder: Path) -> None:
    """Make the folder, for this user alone, or see that it is this user's and that nobody else can write to it or put
    another in its place. Raises ForeignFolder, or FolderError where it cannot be made."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        above = os.lstat(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        about = os.lstat(folder)
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written: {error.strerror}") from error
    if stat.S_ISLNK(above.st_mode):
        above = os.stat(folder.parent)
    who = (os.geteuid(), 0)
    open_above = above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX
    if above.st_uid not in who or open_above:
        raise ForeignFolder(f"{folder.parent}: belongs to another user or can be written by others; it is not used")
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != who[0] or about.st_mode & 0o022:
        raise ForeignFolder(f"{folder}: is not a folder of this user alone; it is not used")


def require_room(folder: Path, size: int) -> None:
    """Raises FolderError where libraries cannot be loaded from, or where `size` bytes do not fit."""
    about = os.statvfs(folder)
    if about.f_flag & os.ST_NOEXEC:
        raise FolderError(f"{folder}: is mounted noexec, so libraries can't be loaded; set warmup.kernels.local_dir")
    free = about.f_bavail * about.f_frsize
    if free < size:
        raise FolderError(f"{folder}: needs {size >> 20} MiB and has {free >> 20}; set warmup.kernels.local_dir")


@contextlib.contextmanager
def exclusive(folder: Path, wait_s: float = 0.0) -> Iterator[Path]:
    """Hold a folder for one writer; yields a fresh staging folder inside it, removed at the end.

    Whatever an earlier, killed writer left in staging is removed first. The lock is the kernel's own and ends with the
    process. Raises FolderError when another one holds it for longer than wait_s seconds or the folder cannot be made.
    """
    require_own(folder)
    try:
        opened = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        lock = os.fdopen(opened, "a+")
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written: {error.strerror}") from error
    with lock:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() < until:
                    time.sleep(0.2)
                    continue
                lock.seek(0)
                raise FolderError(
                    f"{folder}: another build is writing it ({lock.read().strip() or 'unknown'}); "
                    "wait for it, or build into another folder"
                ) from error
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        staging = folder / STAGING
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def is_whole(kernel: Path) -> bool:
    """Whether a DeepGEMM kernel's folder has its source and an ELF cubin, and, where DeepGEMM keeps a marker of
    completeness, that too. DeepGEMM aborts the server on a folder without a cubin."""
    try:
        if (kernel / META).exists() and not (kernel / COMMITTED).exists():
            return False
        if (kernel / KERNEL_FILES[0]).stat().st_size == 0:
            return False
        with (kernel / KERNEL_FILES[1]).open("rb") as stream:
            return stream.read(4) == ELF
    except OSError:
        return False


def files(folder: Path, quiet_s: float = QUIET_S) -> list[str]:
    """Paths, below the folder, of all that an archive should hold, sorted: no locks and no temporary files, no folder
    in which something was written within the last quiet_s seconds, of DeepGEMM whole kernels alone."""
    found: list[str] = []
    latest = time.time() - quiet_s
    for top in sorted(TOP):
        for here, folders, names in os.walk(folder / top):
            place = Path(here).relative_to(folder)
            folders[:] = [f for f in folders if not _PASSING.fullmatch(f) and str(place / f) not in LEFT_OUT]
            plain = [n for n in names if not _PASSING.fullmatch(n) and _is_plain(Path(here, n))]
            with contextlib.suppress(FileNotFoundError):
                if any(os.lstat(Path(here, n)).st_mtime > latest for n in plain):
                    continue
                found += [str(place / n) for n in plain if _of_whole_kernel(folder, str(place / n))]
    return sorted(found)


def _is_plain(file: Path) -> bool:
    try:
        about = os.lstat(file)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(about.st_mode)


def _of_whole_kernel(folder: Path, path: str) -> bool:
    kernel = _KERNEL.fullmatch(path)
    return kernel is None or (kernel[1] in KNOWN and is_whole((folder / path).parent))


def merge_tree(source: Path, target: Path) -> None:
    """Move a tree into another, each folder that is not there as a whole. What is there stays; of DeepGEMM a broken
    kernel is replaced."""
    if not target.exists():
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # another process of this user may have been quicker
            source.rename(target)
            return
    if not source.is_dir():
        return
    if (source / KERNEL_FILES[1]).exists() and not is_whole(target):
        shutil.rmtree(target, ignore_errors=True)
        source.rename(target)
        return
    for entry in sorted(source.iterdir()):
        merge_tree(entry, target / entry.name)


@dataclass(frozen=True)
class Seeded:
    """What was last brought into a folder: the archive's checksum, and each file's size in bytes and time in ns."""

    archive: str
    files: dict[str, list[int]]

    def write(self, folder: Path) -> None:
        write_atomically(folder / SEEDED, json.dumps({"archive": self.archive, "files": self.files}))

    def still_there(self, folder: Path) -> bool:
        """Whether something was brought, and all of it is there."""
        try:
            files = self.files.items()
            return bool(self.archive) and all(os.lstat(folder / path).st_size == size for path, (size, _) in files)
        except OSError:
            return False

    def changed(self, folder: Path, paths: Iterable[str]) -> list[str]:
        """Those of the paths that are not as they were brought, or were not brought. Raises OSError."""
        return [path for path in paths if self.files.get(path) != as_it_is(folder / path)]


def as_it_is(file: Path) -> list[int]:
    about = os.lstat(file)
    return [about.st_size, about.st_mtime_ns]


def read_seeded(folder: Path) -> Seeded:
    """Empty where nothing was."""
    try:
        value = json.loads((folder / SEEDED).read_text(encoding="utf-8"))
        return Seeded(str(value["archive"]), {str(path): [int(a), int(b)] for path, (a, b) in value["files"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Seeded("", {})


def write_atomically(file: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old or the new text, never a part."""
    part = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)
