"""DeepGEMM's cache folder on disk: what a whole kernel is, and the records of finished builds.

    <folder>/cache/kernel.<kind>.<hash>/kernel.cu, kernel.cubin               DeepGEMM to 0.1.x
    <folder>/cache/<kind>.<hash>/kernel.cu, kernel.cubin, meta.json, .committed    from 0.2.3
    <folder>/kernels-<plan>.json                             what was built for one plan

A kernel folder is made elsewhere on the same filesystem and renamed into place when complete, so
that a name that exists is whole. DeepGEMM aborts the server on a kernel folder without a cubin.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmup.caches.folder import KERNEL_FILES, KNOWN, FolderError, is_whole, write_atomically

CACHE = "cache"
KERNEL_NAME = re.compile(r"(?:kernel\.)?[A-Za-z0-9_]+\.[A-Za-z0-9]+")
FILES = KERNEL_FILES
FORMAT = 1


@dataclass(frozen=True)
class Record:
    """What a finished build left. key: what the kernels depend on, with the plan's digest as `shapes`; kernels: name
    to cubin digest."""

    key: dict[str, str]
    kernels: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "key": self.key, "kernels": self.kernels}


def kernels(folder: Path) -> list[str]:
    """Names of the whole kernels, sorted. What lacks its source or an ELF cubin is no kernel."""
    return sorted(
        item.name for item in (folder / CACHE).glob("*") if KERNEL_NAME.fullmatch(item.name) and is_whole(item)
    )


def digest(file: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    hashed = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()


def record_file(folder: Path, key: dict[str, str]) -> Path:
    """Of the plan that the key names; several plans share a folder."""
    return folder / f"kernels-{key.get('shapes', '')[:16]}.json"


def read_record(folder: Path, key: dict[str, str]) -> Record | None:
    """The record of a finished build for this very key, or None when there is none that can be read."""
    try:
        value = json.loads(record_file(folder, key).read_text(encoding="utf-8"))
        record = Record(dict(value["key"]), dict(value["kernels"]))
        return record if value["format"] == FORMAT and record.key == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(folder: Path, record: Record) -> None:
    write_atomically(record_file(folder, record.key), json.dumps(record.to_json(), indent=0, sort_keys=True))


def unfinished(folder: Path, record: Record) -> list[str]:
    """Kernels of a record that are missing or differ on disk; empty when all is well."""
    return [
        name
        for name, wanted in record.kernels.items()
        if not is_whole(folder / CACHE / name) or digest(folder / CACHE / name / FILES[1]) != wanted
    ]


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
