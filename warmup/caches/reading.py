"""Reading an archive: whose it is, whether all its bytes are those that were packed, and what it says it holds.

All that is checked before anything of it is written: owner and mode, the checksum of every byte, and every path and
size of its manifest, the tar's first member. The members after it are named by number, so no path is the tar's own.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pwd
import stat
import struct
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from . import TOP
from .key import CacheKey
from .writing import ArchiveError

FORMAT = 2
MANIFEST = "manifest.json"
# RFC 1952: an empty deflate member (03 00), CRC 0, length 0, with one extra subfield 'SL'.
TRAILER_HEAD = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H2sH", 36, b"SL", 32)
TRAILER_TAIL = b"\x03\x00" + b"\0" * 8
TRAILER_SIZE = len(TRAILER_HEAD) + 32 + len(TRAILER_TAIL)
# Far above what a deployment has (some thousand files of 10 to 500 MB in all); an archive that claims more is refused.
MAX_MANIFEST = 16 << 20
MAX_FILES = 50_000
MAX_FILE = 512 << 20
MAX_TOTAL = 4 << 30
MAX_PATH = 1024


class CorruptArchive(ArchiveError):
    """Bytes that are not those that were packed, or that no archive of ours has."""


class ForeignArchive(ArchiveError):
    """A sound archive for another GPU, toolchain, image or model."""


@dataclass(frozen=True)
class File:
    """One file of an archive. mtime_ns: kept, since ninja compares times. runs: whether it is executable."""

    sha256: str
    size: int
    mtime_ns: int
    runs: bool

    def to_json(self) -> list[Any]:
        return [self.sha256, self.size, self.mtime_ns, self.runs]


@dataclass(frozen=True)
class Contents:
    """An archive's manifest. files: by path, in the order of the tar. created: UTC, ISO."""

    key: CacheKey
    files: dict[str, File]
    created: str
    host: str

    @property
    def kernels(self) -> list[str]:
        """The names of DeepGEMM's kernels."""
        parts = [path.split("/") for path in self.files]
        return [p[2] for p in parts if p[:2] == ["deepgemm", "cache"] and p[3:] == ["kernel.cubin"]]

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def owners(trusted: Collection[int]) -> Collection[int]:
    """Whose archives are taken: this user's, root's, and those of users whom the site names."""
    return (os.geteuid(), 0, *trusted)


@contextlib.contextmanager
def opened(archive: Path, whose: Collection[int] | None = None) -> Iterator[IO[bytes]]:
    """The file, if it is one, and if one of these users owns it and nobody else can write to it. Raises
    FileNotFoundError, ArchiveError."""
    try:
        descriptor = os.open(archive, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "is a link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise ArchiveError(f"{archive}: {why}") from error
    with os.fdopen(descriptor, "rb") as stream:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise ArchiveError(f"{archive}: is not a file")
        if whose is not None and about.st_uid not in whose:
            who = _user(about.st_uid)
            raise ArchiveError(f"{archive}: belongs to {who}, who is not in warmup.kernels.trusted_owners")
        if whose is not None and about.st_mode & 0o022:
            raise ArchiveError(f"{archive}: can be written by others (mode {stat.S_IMODE(about.st_mode):o})")
        yield stream


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def checksum(archive: Path, whose: Collection[int]) -> str:
    """The checksum that the archive ends with, unchecked. Raises as `opened` does, and CorruptArchive."""
    with opened(archive, whose) as stream:
        size = os.fstat(stream.fileno()).st_size
        tail = os.pread(stream.fileno(), TRAILER_SIZE, max(size - TRAILER_SIZE, 0))
    if not tail.startswith(TRAILER_HEAD) or len(tail) < TRAILER_SIZE:
        raise CorruptArchive(f"{archive}: its checksum does not match; delete or rebuild it")
    return tail[len(TRAILER_HEAD) :][:32].hex()


@contextlib.contextmanager
def checked(archive: Path, stream: IO[bytes], keep: Callable[[bytes], object]) -> Iterator[str]:
    """Read an archive once, from its beginning to its end, and give each block to `keep`; yields its checksum once
    every byte has been compared with it."""
    size = os.fstat(stream.fileno()).st_size
    if size <= TRAILER_SIZE:
        raise CorruptArchive(f"{archive}: is cut short at {size} bytes")
    if size > MAX_TOTAL:
        raise CorruptArchive(f"{archive}: refused, it has more than {MAX_TOTAL >> 30} GiB")
    hashed, left = hashlib.sha256(), size - TRAILER_SIZE
    while left:
        block = stream.read(min(left, 1 << 20))
        if not block:
            raise CorruptArchive(f"{archive}: became shorter while it was read")
        hashed.update(block)
        keep(block)
        left -= len(block)
    if stream.read(TRAILER_SIZE + 1) != TRAILER_HEAD + hashed.digest() + TRAILER_TAIL:
        raise CorruptArchive(f"{archive}: its checksum does not match; delete or rebuild it")
    yield hashed.hexdigest()


@contextlib.contextmanager
def tar_of(archive: Path, stream: IO[bytes]) -> Iterator[tuple[tarfile.TarFile, Contents]]:
    """The tar of a stream and its checked manifest; the members come next. `archive` is its name in messages."""
    try:
        with tarfile.open(fileobj=stream, mode="r|gz", tarinfo=_PlainFile) as tar:
            yield tar, _manifest(archive, tar)
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise CorruptArchive(f"{archive}: cannot be unpacked ({error})") from error


class _PlainFile(tarfile.TarInfo):
    """A member that is refused by its header unless it is a file of a size that one of ours can have. Other kinds
    (links, devices, long names that tarfile would read whole) are in no archive that was packed here."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        limit = MAX_MANIFEST if self.name == MANIFEST else MAX_FILE
        if self.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not 0 <= self.size <= limit:
            raise ValueError(f"unexpected member {self.name[:100]!r} of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


def _manifest(archive: Path, tar: tarfile.TarFile) -> Contents:
    member = tar.next()
    if member is None or member.name != MANIFEST or not member.isreg():
        raise CorruptArchive(f"{archive}: does not begin with {MANIFEST}")
    source = tar.extractfile(member)
    try:
        value = json.loads(source.read() if source else b"")
        if value["format"] != FORMAT:
            raise ForeignArchive(f"{archive}: has format {value['format']}, this version reads {FORMAT}")
        files = {str(path): File(str(a), int(b), int(c), bool(d)) for path, (a, b, c, d) in value["files"].items()}
        contents = Contents(CacheKey.from_json(value["key"]), files, str(value["created"]), str(value["host"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CorruptArchive(f"{archive}: {MANIFEST} cannot be read ({error})") from error
    if len(files) > MAX_FILES:
        raise CorruptArchive(f"{archive}: {MANIFEST} names {len(files)} files")
    for path, file in files.items():
        if not _is_inside(path):
            raise CorruptArchive(f"{archive}: refused, {MANIFEST} names {path[:100]!r}")
        if not 0 <= file.size <= MAX_FILE or not 0 <= file.mtime_ns < 1 << 63:
            raise CorruptArchive(f"{archive}: refused, {path[:100]} has {file.size} bytes")
    if contents.total > MAX_TOTAL:
        raise CorruptArchive(f"{archive}: refused, it holds more than {MAX_TOTAL >> 30} GiB")
    return contents


def _is_inside(path: str) -> bool:
    """Whether it is a file's path in one of our caches."""
    parts = path.split("/")
    return (
        len(parts) > 1 and parts[0] in TOP and len(path) <= MAX_PATH and path.isprintable()
        and all(part not in ("", ".", "..") and len(part) <= 255 for part in parts)
    )  # fmt: skip
