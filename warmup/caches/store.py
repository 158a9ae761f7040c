"""What is in a cache_dir: list, show, verify, prune."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import archive as archives
from .key import SUFFIX
from .reading import Contents
from .writing import ArchiveError

DAY_S = 86_400.0


class StoreError(ValueError):
    """A name that fits no archive or several; the message lists what is there."""


@dataclass(frozen=True)
class Entry:
    """path; bytes: file size; used: seconds since the epoch of its last change; contents: None
    when the archive cannot be read, and then problem says why."""

    path: Path
    bytes: int
    used: float
    contents: Contents | None
    problem: str | None = None

    @property
    def name(self) -> str:
        return self.path.name

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "name": self.name,
            "path": str(self.path),
            "bytes": self.bytes,
            "used": self.used,
            "problem": self.problem,
        }
        if self.contents is not None:
            value |= {
                "created": self.contents.created,
                "host": self.contents.host,
                "kernels": len(self.contents.kernels),
                "files": len(self.contents.files),
                "key": self.contents.key.to_json(),
            }
        return value


def entries(cache_dir: Path) -> list[Entry]:
    """Every archive, newest first. An empty or missing folder is an empty list."""
    found = []
    for path in cache_dir.glob(f"kernels-*{SUFFIX}"):
        contents, problem = None, None
        try:
            status = path.stat()
            contents = archives.peek(path)
        except FileNotFoundError:
            continue  # pruned meanwhile
        except ArchiveError as error:
            problem = str(error)
        found.append(Entry(path, status.st_size, status.st_mtime, contents, problem))
    return sorted(found, key=lambda entry: (-entry.used, entry.name))


def show(cache_dir: Path, name: str) -> Entry:
    """One archive by its name or any part of it that no other has. Raises StoreError."""
    everything = entries(cache_dir)
    fitting = [entry for entry in everything if name == entry.name] or [
        entry for entry in everything if name in entry.name
    ]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(entry.name for entry in everything) or "none"
    count = "no archive" if not fitting else f"{len(fitting)} archives"
    raise StoreError(f"{cache_dir}: {count} named {name!r}; there are: {known}")


def verify(cache_dir: Path, names: Sequence[str] = ()) -> list[Entry]:
    """The archives (all, or those named) with every byte checked; a bad one has a problem."""
    chosen = [show(cache_dir, name) for name in names] if names else entries(cache_dir)
    checked = []
    for entry in chosen:
        contents, problem = entry.contents, None
        try:
            contents = archives.read(entry.path)
        except (OSError, ArchiveError) as error:
            contents, problem = None, str(error)
        checked.append(Entry(entry.path, entry.bytes, entry.used, contents, problem))
    return checked


def prune(
    cache_dir: Path,
    *,
    days: float | None = None,
    keep: int | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
    now: float | None = None,
) -> list[Entry]:
    """Remove archives, least recently used first; return those removed.

    days: older than this many since last used. keep: beyond this many. max_bytes: until the rest
    fits. An archive that cannot be read goes too. dry_run: only say which. Half-written files of
    writers that died more than a day ago are removed as well. Raises StoreError without a rule.
    """
    if days is None and keep is None and max_bytes is None:
        raise StoreError("prune needs a rule: days, keep or max_bytes")
    moment = time.time() if now is None else now
    gone, kept_bytes, kept = [], 0, 0
    for entry in entries(cache_dir):
        old = days is not None and moment - entry.used > days * DAY_S
        many = keep is not None and kept >= keep
        large = max_bytes is not None and kept_bytes + entry.bytes > max_bytes
        if entry.problem or old or many or large:
            gone.append(entry)
        else:
            kept, kept_bytes = kept + 1, kept_bytes + entry.bytes
    if not dry_run:
        for entry in gone:
            entry.path.unlink(missing_ok=True)
        for part in cache_dir.glob(".kernels-*.part"):
            with contextlib.suppress(FileNotFoundError):
                if moment - part.stat().st_mtime > DAY_S:
                    part.unlink()
    return gone


def touch(path: Path) -> None:
    """Note that an archive was used, for prune. A read-only store is no error."""
    with contextlib.suppress(OSError):
        path.touch()
