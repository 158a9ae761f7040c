"""Writing an archive: writers of one key take turns, and what is written is digested on the way."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


class ArchiveError(RuntimeError):
    """An archive that is refused; the message names the file and says why."""


class HashingWriter(io.RawIOBase):
    """Passes bytes on and digests them, so that a pack reads nothing twice."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._hashed = stream, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hashed.update(data)
        return self._stream.write(data)

    def digest(self) -> bytes:
        return self._hashed.digest()


@contextlib.contextmanager
def writers_lock(cache_dir: Path, name: str) -> Iterator[None]:
    """Writers of one key take turns. Where the filesystem has no locks, renames still keep every
    archive whole; only a merge that runs at the same moment could then be lost."""
    file = cache_dir / f".{name}.lock"
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        lock = _open_lock(file)
    except OSError as error:
        raise ArchiveError(f"{cache_dir}: cannot be written: {error.strerror}") from error
    try:
        if lock is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _open_lock(file: Path) -> int | None:
    """Opened to read: it may be a colleague's. None where it may not even be read: then the writer goes on without."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(file, flags)
    except FileNotFoundError:
        made = os.open(file, flags | os.O_CREAT, 0o644)
        with contextlib.suppress(OSError):
            os.fchmod(made, 0o644)  # whatever the umask is
        return made
    except PermissionError:
        return None
