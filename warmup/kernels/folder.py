"""DeepGEMM's cache folder on disk: what a whole kernel is, and the record of a finished build.

    <folder>/cache/kernel.<kind>.<hash>/kernel.cu, kernel.cubin               DeepGEMM to 0.1.x
    <folder>/cache/<kind>.<hash>/kernel.cu, kernel.cubin, meta.json, .committed    from 0.2.3
    <folder>/kernels.json                                    what was built, and for what

A kernel folder is made elsewhere on the same filesystem and renamed into place when complete, so
that a name that exists is whole. DeepGEMM aborts the server on a kernel folder without a cubin.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE, RECORD, STAGING, LOCK = "cache", "kernels.json", ".staging", ".lock"
KERNEL_NAME = re.compile(r"(?:kernel\.)?[A-Za-z0-9_]+\.[A-Za-z0-9]+")
FILES = ("kernel.cu", "kernel.cubin")
META, COMMITTED = "meta.json", ".committed"  # newer versions take a folder only with its marker
KNOWN = (*FILES, META, COMMITTED)
ELF = b"\x7fELF"
FORMAT = 1


class FolderError(RuntimeError):
    """A cache folder that cannot be used; the message names it."""


class ForeignFolder(FolderError):
    """A cache folder that others have made or may write to: what is in it would run as ours."""


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


@dataclass(frozen=True)
class Record:
    """What a finished build left. key: the archive key's fields; kernels: name to cubin digest."""

    key: dict[str, str]
    kernels: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "key": self.key, "kernels": self.kernels}


def kernels(folder: Path) -> list[str]:
    """Names of the whole kernels, sorted. What lacks its source or an ELF cubin is no kernel."""
    return sorted(
        item.name for item in (folder / CACHE).glob("*") if KERNEL_NAME.fullmatch(item.name) and is_whole(item)
    )


def is_whole(kernel: Path) -> bool:
    """True when both files are there, the source not empty and the cubin an ELF file, and, where
    DeepGEMM keeps a marker of completeness, that too."""
    try:
        if (kernel / META).exists() and not (kernel / COMMITTED).exists():
            return False
        if (kernel / FILES[0]).stat().st_size == 0:
            return False
        with (kernel / FILES[1]).open("rb") as stream:
            return stream.read(4) == ELF
    except OSError:
        return False


def digest(file: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    hashed = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()


def read_record(folder: Path) -> Record | None:
    """The record of a finished build, or None when there is none that can be read."""
    try:
        value = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            return None
        return Record(dict(value["key"]), dict(value["kernels"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(folder: Path, record: Record) -> None:
    write_atomically(folder / RECORD, json.dumps(record.to_json(), indent=0, sort_keys=True))


def unfinished(folder: Path, record: Record) -> list[str]:
    """Kernels of a record that are missing or differ on disk; empty when all is well."""
    return [
        name
        for name, wanted in record.kernels.items()
        if not is_whole(folder / CACHE / name) or digest(folder / CACHE / name / FILES[1]) != wanted
    ]


def write_atomically(file: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old or the new text, never a part."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    with part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def commit(staged: Path, folder: Path, name: str) -> None:
    """Move a complete kernel into the cache under its name.

    A whole kernel of that name stays (its source is part of the name's hash); a broken one, left
    by a program that writes in place, is replaced. Raises FolderError when `staged` is not whole.
    """
    if not is_whole(staged):
        raise FolderError(f"{staged}: is not a whole kernel and was not put into the cache")
    for file in KNOWN:
        if (staged / file).exists():
            with (staged / file).open("rb") as stream:
                os.fsync(stream.fileno())
    target = folder / CACHE / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not is_whole(target):
        shutil.rmtree(target, ignore_errors=True)
    try:
        staged.rename(target)
    except OSError:
        if not is_whole(target):
            raise
        shutil.rmtree(staged, ignore_errors=True)


@contextlib.contextmanager
def exclusive(folder: Path, wait_s: float = 0.0) -> Iterator[Path]:
    """Hold a folder for one build; yields a fresh staging folder inside it, removed at the end.

    Whatever an earlier, killed build left in staging is removed first. The lock is the kernel's
    own and ends with the process. Raises FolderError when another build holds it for longer than
    wait_s seconds or the folder cannot be made.
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
