"""One archive a deployment: packed whole, checked to the last byte, brought to each node by one read of the file.

The format is .tar.gz rather than .tar.zst: Python reads and writes it everywhere without another package, in the
serving image as on the login node. After the tar's own gzip member comes a second, empty one whose extra field holds
the SHA-256 of all bytes before it: gzip and tar skip it silently, and every byte of the file is covered.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import tarfile
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO

from . import folder as cache_folder
from .folder import Seeded
from .key import SUFFIX, CacheKey
from .reading import (
    FORMAT,
    MANIFEST,
    MAX_FILE,
    MAX_FILES,
    MAX_TOTAL,
    TRAILER_HEAD,
    TRAILER_TAIL,
    Contents,
    CorruptArchive,
    File,
    ForeignArchive,
    checked,
    checksum,
    opened,
    owners,
    tar_of,
)
from .writing import ArchiveError, HashingWriter, writers_lock

UNPACK_WAIT_S = 60.0
LEVEL = 3  # of gzip: libraries shrink to a third either way


def place(cache_dir: Path, key: CacheKey, trusted: Collection[int] = ()) -> Path:
    """The archive of this key that this user reads and writes: one of this user's own if there is one, else the one
    that all share, unless it belongs to somebody who is not trusted."""
    shared, own = cache_dir / key.file_name, _own(cache_dir / key.file_name)
    try:
        owner = os.lstat(shared).st_uid
    except OSError:
        return shared
    return shared if owner in owners(trusted) and not own.exists() else own


def _own(shared: Path) -> Path:
    return shared.with_name(f"{shared.name.removesuffix(SUFFIX)}-u{os.geteuid()}{SUFFIX}")


def unpack(
    archive: Path, folder: Path, expect: CacheKey | None = None, trusted: Collection[int] = ()
) -> Contents | None:
    """Bring an archive's files into a node's folder, and note that. None: they are there already.

    expect: refuse an archive of another key. trusted: ids of users whose archives are taken besides this user's and
    root's. Raises FileNotFoundError, FolderError, ArchiveError, CorruptArchive, ForeignArchive; then the folder is as
    it was.
    """
    # another job of this user may be unpacking on this node too
    with cache_folder.exclusive(folder, wait_s=UNPACK_WAIT_S) as staging:
        seeded = cache_folder.read_seeded(folder)
        if seeded.still_there(folder) and seeded.archive == checksum(archive, owners(trusted)):
            return None
        contents, digest = _extract(archive, staging, expect, trusted)
        for top in sorted((staging / "files").iterdir()):
            cache_folder.merge_tree(top, folder / top.name)
        Seeded(digest, {p: [file.size, file.mtime_ns] for p, file in contents.files.items()}).write(folder)
    return contents


def pack(
    folder: Path, cache_dir: Path, key: CacheKey, trusted: Collection[int] = (), quiet_s: float = cache_folder.QUIET_S
) -> tuple[Path, list[str]]:
    """Add to the archive what is new or another in a node's folder; returns its path and those files'.

    Nothing is read or written when there is nothing new. A missing or refused archive is replaced. Jobs that end
    together take turns, so no job's files are lost; the archive is replaced in one step. Raises ArchiveError,
    FolderError.
    """
    cache_folder.require_own(folder)
    here = cache_folder.files(folder, quiet_s)
    target = place(cache_dir, key, trusted)
    seeded = cache_folder.read_seeded(folder)
    changed = seeded.changed(folder, here)
    if not changed:
        with contextlib.suppress(FileNotFoundError, ArchiveError):
            if checksum(target, owners(trusted)) == seeded.archive:
                return target, []
    with writers_lock(cache_dir, key.file_name):
        target = place(cache_dir, key, trusted)
        staging = Path(tempfile.mkdtemp(dir=folder, prefix=".merge."))
        try:
            known: dict[str, File] = {}
            with contextlib.suppress(FileNotFoundError, ArchiveError):
                known = _extract(target, staging, key, trusted)[0].files
            new = [path for path in changed if path not in known or _differs(folder / path, path, known[path])]
            new += [path for path in here if path not in known and path not in changed]
            if not new:
                return target, []
            target, digest = _write({**_below(staging / "files", known), **_below(folder, new)}, target, key)
            Seeded(digest, {path: cache_folder.as_it_is(folder / path) for path in here}).write(folder)
            return target, new
        except FileNotFoundError as error:
            raise ArchiveError(f"{error.filename}: was removed while it was packed") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _differs(file: Path, path: str, known: File) -> bool:
    """Whether a compiler has made another file of that name. DeepGEMM's names tell what is in them."""
    if path.startswith("deepgemm/cache/"):
        return False
    with file.open("rb") as stream:
        return _digest(stream) != known.sha256


def _below(folder: Path, paths: Collection[str]) -> dict[str, Path]:
    return {path: folder / path for path in paths}


def read(archive: Path) -> Contents:
    """Check the whole file, whoever owns it, and return its manifest. Raises as unpack does."""
    with opened(archive) as stream:
        with checked(archive, stream, lambda block: None):
            stream.seek(0)
        with tar_of(archive, stream) as (_, contents):
            return contents


def peek(archive: Path) -> Contents:
    """The manifest alone, unchecked, for listings of many archives."""
    with opened(archive) as stream, tar_of(archive, stream) as (_, contents):
        return contents


def _write(sources: Mapping[str, Path], target: Path, key: CacheKey) -> tuple[Path, str]:
    part = target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.{os.urandom(4).hex()}.part")
    about = {path: _about(source) for path, source in sources.items()}
    if sum(file.size for file in about.values()) > MAX_TOTAL or len(about) > MAX_FILES:
        raise ArchiveError(f"{target}: would hold more than {MAX_TOTAL >> 30} GiB or {MAX_FILES} files; remove it")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as stream:
            hashing = HashingWriter(stream)
            with gzip.GzipFile("", "wb", LEVEL, hashing, mtime=0) as packed:
                _fill(packed, sources, about, key)
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
    return target, hashing.digest().hex()


def _about(source: Path) -> File:
    """Raises ArchiveError for a file that is too large."""
    status = os.lstat(source)
    if status.st_size > MAX_FILE:
        raise ArchiveError(f"{source}: has more than {MAX_FILE >> 20} MiB; nothing was packed")
    with source.open("rb") as stream:
        return File(_digest(stream), status.st_size, status.st_mtime_ns, bool(status.st_mode & 0o100))


def _digest(stream: IO[bytes], into: IO[bytes] | None = None) -> str:
    """The SHA-256 of a stream, which is copied in pieces."""
    hashed = hashlib.sha256()
    while block := stream.read(1 << 20):
        hashed.update(block)
        if into is not None:
            into.write(block)
    return hashed.hexdigest()


def _fill(packed: gzip.GzipFile, sources: Mapping[str, Path], about: Mapping[str, File], key: CacheKey) -> None:
    """The tar itself: the manifest, then every file by its number."""
    manifest = {
        "format": FORMAT,
        "key": key.to_json(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": socket.gethostname(),
        "files": {path: file.to_json() for path, file in about.items()},
    }
    head = json.dumps(manifest).encode()
    with tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(_member(MANIFEST, len(head)), io.BytesIO(head))
        for number, (path, source) in enumerate(sources.items()):
            with source.open("rb") as data:
                if os.fstat(data.fileno()).st_mtime_ns != about[path].mtime_ns:
                    raise ArchiveError(f"{source}: changed while it was packed; nothing was written")
                tar.addfile(_member(str(number), about[path].size), data)


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


def _extract(
    archive: Path, staging: Path, expect: CacheKey | None, trusted: Collection[int]
) -> tuple[Contents, str]:
    """Copy an archive to `staging`, check it there, and write its files below staging/files; `staging` is thrown away
    on failure. Returns what it holds, and its checksum."""
    copy, target = staging / "archive", staging / "files"
    target.mkdir(mode=0o700)
    with opened(archive, owners(trusted)) as stream:
        cache_folder.require_room(staging, os.fstat(stream.fileno()).st_size)
        with copy.open("xb") as written, checked(archive, stream, written.write) as digest:
            pass
    with copy.open("rb") as local, tar_of(archive, local) as (tar, contents):
        if expect is not None and contents.key != expect:
            differences = "; ".join(expect.differences(contents.key))
            raise ForeignArchive(f"{archive}: was made for another target ({differences})")
        cache_folder.require_room(staging, contents.total)
        for path, file in _members(archive, tar, contents):
            place = target / path
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            source = tar.extractfile(file[0])
            with place.open("xb") as out:
                if source is None or _digest(source, out) != file[1].sha256:
                    raise CorruptArchive(f"{archive}: {path} does not have the packed bytes")
            place.chmod(0o700 if file[1].runs else 0o600)
            os.utime(place, ns=(file[1].mtime_ns, file[1].mtime_ns))
    copy.unlink()
    return contents, digest


def _members(
    archive: Path, tar: tarfile.TarFile, contents: Contents
) -> Iterator[tuple[str, tuple[tarfile.TarInfo, File]]]:
    """Each file's path, its member of the tar and what the manifest says of it."""
    for number, (path, file) in enumerate(contents.files.items()):
        member = tar.next()
        if member is None:
            raise CorruptArchive(f"{archive}: {path} is in the manifest but not in the archive")
        if member.name != str(number) or member.size != file.size:
            raise CorruptArchive(f"{archive}: refused, unexpected member {member.name[:100]!r}")
        yield path, (member, file)
    if (member := tar.next()) is not None:
        raise CorruptArchive(f"{archive}: refused, unexpected member {member.name[:100]!r}")
