"""One archive a build: packed whole, checked to the last byte, unpacked only where it fits.

The format is .tar.gz rather than .tar.zst: Python reads and writes it everywhere without another
package, in the serving image as on the login node, and a few megabytes of cubins take a second.
After the tar's own gzip member comes a second, empty one whose extra field holds the SHA-256 of
all bytes before it: gzip and tar skip it silently, and every byte of the file is covered. The
first member of the tar is manifest.json with the key and each file's digest.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import pwd
import re
import shutil
import socket
import stat
import struct
import tarfile
import tempfile
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from . import folder as cache_folder
from .writing import ArchiveError, HashingWriter, writers_lock

FORMAT = 1
SUFFIX = ".tar.gz"
MANIFEST = "manifest.json"
MEMBER = re.compile(rf"cache/({cache_folder.KERNEL_NAME.pattern})/([a-z.]+)")
# RFC 1952: an empty deflate member (03 00), CRC 0, length 0, with one extra subfield 'SL'.
TRAILER_HEAD = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H2sH", 36, b"SL", 32)
TRAILER_TAIL = b"\x03\x00" + b"\0" * 8
TRAILER_SIZE = len(TRAILER_HEAD) + 32 + len(TRAILER_TAIL)
# Far above what a deployment has (121 kernels in 10 MB); an archive that claims more is refused before it is read.
MAX_MANIFEST = 4 << 20
MAX_KERNELS = 10_000
MAX_FILE = 32 << 20
MAX_TOTAL = 1 << 30
UNPACK_WAIT_S = 60.0


class CorruptArchive(ArchiveError):
    """Bytes that are not those that were packed."""


class ForeignArchive(ArchiveError):
    """A sound archive for another GPU, toolchain, image or plan."""


@dataclass(frozen=True)
class CacheKey:
    """Everything that kernels depend on. gpu: architecture and SM count, 'sm_90x132'. deep_gemm:
    version. headers: digest of its headers. nvcc: release. include_path: of DeepGEMM's headers.
    image: the container image's name. shapes: the manifest's digest."""

    gpu: str
    deep_gemm: str
    headers: str
    nvcc: str
    include_path: str
    image: str
    shapes: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """Readable first, exact after: 'deepgemm-sm_90x132-0.1.4-<16 hex digits>.tar.gz'."""
        readable = re.sub(r"[^A-Za-z0-9_.]+", "_", f"{self.gpu}-{self.deep_gemm}".replace("-", "~"))
        return f"deepgemm-{readable}-{self.digest[:16]}{SUFFIX}"

    def to_json(self) -> dict[str, str]:
        return dict(asdict(self))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CacheKey:
        """Raises KeyError when a field is missing."""
        return cls(**{item.name: str(value[item.name]) for item in fields(cls)})

    def differences(self, other: CacheKey) -> list[str]:
        """Such as 'nvcc 12.9, not 13.0': other's value, then this one's."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{k} {theirs[k]}, not {mine[k]}" for k in mine if mine[k] != theirs[k]]


@dataclass(frozen=True)
class Contents:
    """An archive's manifest. kernels: name to the digests of its two files. created: UTC, ISO."""

    key: CacheKey
    kernels: dict[str, dict[str, str]]
    created: str
    host: str


def place(cache_dir: Path, key: CacheKey, trusted: Collection[int] = ()) -> Path:
    """The archive of this key that this user reads and writes: one of this user's own if there is one, else the one
    that all share, unless it belongs to somebody who is not trusted."""
    shared, own = cache_dir / key.file_name, _own(cache_dir / key.file_name)
    try:
        owner = os.lstat(shared).st_uid
    except OSError:
        return shared
    return shared if owner in (os.geteuid(), 0, *trusted) and not own.exists() else own


def _own(shared: Path) -> Path:
    return shared.with_name(f"{shared.name.removesuffix(SUFFIX)}-u{os.geteuid()}{SUFFIX}")


def pack(folder: Path, cache_dir: Path, key: CacheKey, trusted: Collection[int] = ()) -> Path:
    """Write the archive of a folder's whole kernels; return its path.

    Replaces an archive of the same key in one step. Raises ArchiveError when the folder holds no
    kernel or cache_dir cannot be written.
    """
    with writers_lock(cache_dir, key.file_name):
        return _write(folder, place(cache_dir, key, trusted), key, cache_folder.kernels(folder))


def merge_back(folder: Path, cache_dir: Path, key: CacheKey, trusted: Collection[int] = ()) -> list[str]:
    """Add to the archive what a job compiled on its own; return the new kernels' names.

    Nothing is written when there is none. A missing or refused archive is replaced. Jobs that end
    together take turns, so no job's kernels are lost.
    """
    cache_folder.require_own(folder)
    with writers_lock(cache_dir, key.file_name):
        target = place(cache_dir, key, trusted)
        try:
            staging = Path(tempfile.mkdtemp(dir=cache_dir, prefix=f".merge.{key.digest[:16]}."))
        except OSError as error:
            raise ArchiveError(f"{cache_dir}: cannot be written: {error.strerror}") from error
        try:
            known: set[str] = set()
            with contextlib.suppress(FileNotFoundError, ArchiveError):
                known = set(_extract(target, staging, key, trusted).kernels)
            new = [name for name in cache_folder.kernels(folder) if name not in known]
            if not new:
                return []
            for name in new:
                source = folder / cache_folder.CACHE / name
                copy = staging / cache_folder.CACHE / name
                copy.mkdir(parents=True)
                for file in _files(source):
                    shutil.copyfile(source / file, copy / file)
            _write(staging, target, key, cache_folder.kernels(staging))
            return new
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def unpack(
    archive: Path, folder: Path, expect: CacheKey | None = None, trusted: Collection[int] = ()
) -> Contents:
    """Put an archive's kernels into a cache folder, each as a whole, and record them.

    expect: refuse an archive of another key. trusted: ids of users whose archives are taken besides this user's and
    root's. Raises FileNotFoundError, ArchiveError, CorruptArchive, ForeignArchive; then the folder is as it was.
    """
    # another job of this user may be unpacking on this node too
    with cache_folder.exclusive(folder, wait_s=UNPACK_WAIT_S) as staging:
        contents = _extract(archive, staging, expect, trusted)
        for name in contents.kernels:
            cache_folder.commit(staging / cache_folder.CACHE / name, folder, name)
        cubin = cache_folder.FILES[1]
        digests = {name: files[cubin] for name, files in contents.kernels.items()}
        cache_folder.write_record(folder, cache_folder.Record(contents.key.to_json(), digests))
    return contents


def read(archive: Path) -> Contents:
    """Check the whole file and return its manifest. Raises as unpack does."""
    with _checked(archive) as tar:
        return _manifest(archive, tar)


def peek(archive: Path) -> Contents:
    """The manifest alone, unchecked, for listings of many archives."""
    try:
        with _opened(archive) as stream, tarfile.open(fileobj=stream, mode="r|gz", tarinfo=_PlainFile) as tar:
            return _manifest(archive, tar)
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise CorruptArchive(f"{archive}: is not a kernel archive ({error})") from error


def _write(folder: Path, target: Path, key: CacheKey, names: list[str]) -> Path:
    if not names:
        raise ArchiveError(f"{folder}: holds no whole kernel; nothing was packed")
    part = target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        with os.fdopen(opened, "wb") as stream:
            hashing = HashingWriter(stream)
            with gzip.GzipFile("", "wb", 6, hashing, mtime=0) as packed:
                _fill(packed, folder, key, names)
            stream.write(TRAILER_HEAD + hashing.digest() + TRAILER_TAIL)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            part.replace(target)
        except PermissionError:  # a colleague's, in a folder where each can replace only what is theirs
            target = _own(target)
            part.replace(target)
    except OSError as error:
        raise ArchiveError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _fill(packed: gzip.GzipFile, folder: Path, key: CacheKey, names: list[str]) -> None:
    """The tar itself: the manifest, then every kernel's files in order of name."""
    kernels: dict[str, dict[str, str]] = {}
    payload: list[tuple[str, bytes]] = []
    for name in names:
        kernels[name] = {}
        for file in _files(folder / cache_folder.CACHE / name):
            data = (folder / cache_folder.CACHE / name / file).read_bytes()
            kernels[name][file] = hashlib.sha256(data).hexdigest()
            payload.append((f"{cache_folder.CACHE}/{name}/{file}", data))
    manifest = {
        "format": FORMAT,
        "key": key.to_json(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": socket.gethostname(),
        "kernels": kernels,
    }
    with tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        head = json.dumps(manifest, sort_keys=True).encode()
        for path, data in [(MANIFEST, head), *payload]:
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))


def _files(kernel: Path) -> list[str]:
    """Names of the files that make up a kernel; whatever else lies beside them stays behind."""
    return [file for file in cache_folder.KNOWN if (kernel / file).is_file()]


def _extract(archive: Path, into: Path, expect: CacheKey | None, trusted: Collection[int]) -> Contents:
    """Check an archive and write its kernels below `into`, which is thrown away on failure."""
    total = 0
    with _checked(archive, (os.geteuid(), 0, *trusted)) as tar:
        contents = _manifest(archive, tar)
        if expect is not None and contents.key != expect:
            raise ForeignArchive(f"{archive}: was made for another target ({'; '.join(_named(expect, contents))})")
        missing = {(name, file) for name, files in contents.kernels.items() for file in files}
        while (member := tar.next()) is not None:  # a plain loop would begin with the manifest
            match = MEMBER.fullmatch(member.name)
            place = (match[1], match[2]) if match else None
            if place not in missing or not member.isreg():
                raise CorruptArchive(f"{archive}: refused, unexpected member {member.name!r}")
            assert place is not None
            missing.remove(place)
            total += member.size
            if total > MAX_TOTAL:
                raise CorruptArchive(f"{archive}: refused, it holds more than {MAX_TOTAL >> 20} MiB")
            target = into / cache_folder.CACHE / place[0]
            target.mkdir(parents=True, exist_ok=True)
            if _copy(tar.extractfile(member), target / place[1]) != contents.kernels[place[0]][place[1]]:
                raise CorruptArchive(f"{archive}: {member.name} does not have the packed bytes")
        if missing:
            name = "/".join(min(missing))
            raise CorruptArchive(f"{archive}: {name} is in the manifest but not in the archive")
    return contents


def _copy(source: IO[bytes] | None, target: Path) -> str:
    """Copy in pieces; returns the SHA-256 of what was copied."""
    hashed = hashlib.sha256()
    with target.open("xb") as stream:
        while source and (block := source.read(1 << 20)):
            hashed.update(block)
            stream.write(block)
    return hashed.hexdigest()


class _PlainFile(tarfile.TarInfo):
    """A member that is refused by its header unless it is a file of a size that a kernel's can have. Other kinds
    (links, devices, long names that tarfile would read whole) are in no archive that was packed here."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        limit = MAX_MANIFEST if self.name == MANIFEST else MAX_FILE
        if self.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not 0 <= self.size <= limit:
            raise ValueError(f"unexpected member {self.name[:100]!r} of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


@contextlib.contextmanager
def _opened(archive: Path, owners: Collection[int] | None = None) -> Iterator[IO[bytes]]:
    """The file, if it is one, and if one of these users owns it. Raises FileNotFoundError, ArchiveError."""
    try:
        opened = os.open(archive, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "is a link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise ArchiveError(f"{archive}: {why}") from error
    with os.fdopen(opened, "rb") as stream:
        about = os.fstat(opened)
        if not stat.S_ISREG(about.st_mode):
            raise ArchiveError(f"{archive}: is not a file")
        if owners is not None and about.st_uid not in owners:
            who = _user(about.st_uid)
            raise ArchiveError(f"{archive}: belongs to {who}, who is not in warmup.kernels.trusted_owners")
        yield stream


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _named(expect: CacheKey, contents: Contents) -> list[str]:
    return expect.differences(contents.key)


@contextlib.contextmanager
def _checked(archive: Path, owners: Collection[int] | None = None) -> Iterator[tarfile.TarFile]:
    """The tar of an archive whose every byte has been compared with its checksum."""
    with _opened(archive, owners) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size <= TRAILER_SIZE:
            raise CorruptArchive(f"{archive}: is cut short at {size} bytes")
        hashed, left = hashlib.sha256(), size - TRAILER_SIZE
        while left:
            block = stream.read(min(left, 1 << 20))
            if not block:
                raise CorruptArchive(f"{archive}: became shorter while it was read")
            hashed.update(block)
            left -= len(block)
        if stream.read(TRAILER_SIZE + 1) != TRAILER_HEAD + hashed.digest() + TRAILER_TAIL:
            raise CorruptArchive(f"{archive}: its checksum does not match; delete or rebuild it")
        stream.seek(0)
        try:
            with tarfile.open(fileobj=stream, mode="r|gz", tarinfo=_PlainFile) as tar:
                yield tar
        except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
            raise CorruptArchive(f"{archive}: cannot be unpacked ({error})") from error


def _manifest(archive: Path, tar: tarfile.TarFile) -> Contents:
    member = tar.next()
    if member is None or member.name != MANIFEST or not member.isreg():
        raise CorruptArchive(f"{archive}: does not begin with {MANIFEST}")
    if member.size > MAX_MANIFEST:
        raise CorruptArchive(f"{archive}: {MANIFEST} claims {member.size} bytes")
    source = tar.extractfile(member)
    try:
        value = json.loads(source.read() if source else b"")
        if value["format"] != FORMAT:
            raise ForeignArchive(f"{archive}: has format {value['format']}, this version reads {FORMAT}")
        kernels = {str(name): dict(files) for name, files in value["kernels"].items()}
        key = CacheKey.from_json(value["key"])
        created, host = str(value["created"]), str(value["host"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CorruptArchive(f"{archive}: {MANIFEST} cannot be read ({error})") from error
    if len(kernels) > MAX_KERNELS:
        raise CorruptArchive(f"{archive}: {MANIFEST} names {len(kernels)} kernels")
    for name, files in kernels.items():
        whole = set(cache_folder.FILES) <= set(files) <= set(cache_folder.KNOWN)
        if not cache_folder.KERNEL_NAME.fullmatch(name) or not whole:
            raise CorruptArchive(f"{archive}: {MANIFEST} names {name!r}, which is no kernel")
    return Contents(key, kernels, created, host)
