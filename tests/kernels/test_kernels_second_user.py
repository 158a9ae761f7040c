"""What another user of the node, or of the folder of archives, has put there: never used, never followed, and refused
without much memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from kernels_fakes import kernel, key_fields

from warmup.caches import archive as archives
from warmup.caches import reading
from warmup.caches.folder import exclusive, require_own
from warmup.kernels import ArchiveError, CacheKey, CorruptArchive, ForeignFolder, entries, unpack

KEY = CacheKey(**key_fields())
NAME = "kernel.sm90_fp8_gemm_1d2d.aa01"
MALLORY = 65534
ROOT = Path(__file__).resolve().parents[2]
two_users = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be two users")


def pack(folder: Path, store: Path, key: CacheKey) -> Path:
    return archives.pack(folder, store, key, quiet_s=0)[0]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    (tmp_path / "dg").mkdir(mode=0o700)
    kernel(tmp_path / "dg" / "deepgemm", NAME, NAME)
    return tmp_path / "dg"


def test_a_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    require_own(tmp_path / "kernels-0" / "abc")
    assert [(p.stat().st_mode & 0o777) for p in (tmp_path / "kernels-0", tmp_path / "kernels-0/abc")] == [0o700, 0o700]


@pytest.mark.parametrize("how", ["link", "open", "open above"])
def test_a_folder_that_others_can_change_is_refused(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "kernels" / "abc"
    if how == "link":
        folder.parent.mkdir()
        folder.symlink_to(tmp_path)
    else:
        folder.mkdir(parents=True)
        (folder if how == "open" else folder.parent).chmod(0o777)
    with pytest.raises(ForeignFolder), exclusive(folder):
        pass


@two_users
@pytest.mark.parametrize("depth", [0, 1])
def test_a_folder_of_another_user_is_refused(tmp_path: Path, filled: Path, depth: int) -> None:
    archive = pack(filled, tmp_path / "store", KEY)
    folder = tmp_path / "kernels" / "abc"
    folder.mkdir(parents=True)
    os.chown([folder, folder.parent][depth], MALLORY, MALLORY)
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (folder / ".lock").symlink_to(victim)
    with pytest.raises(ForeignFolder):
        unpack(archive, folder, KEY)
    with pytest.raises(ForeignFolder):
        pack(folder, tmp_path / "store", KEY)
    assert victim.read_text() == "kept"


@two_users
def test_an_archive_of_another_user_is_not_taken(tmp_path: Path, filled: Path) -> None:
    archive = pack(filled, tmp_path / "store", KEY)
    os.chown(archive, MALLORY, MALLORY)
    with pytest.raises(ArchiveError, match=r"belongs to nobody, who is not in warmup\.kernels\.trusted_owners"):
        unpack(archive, tmp_path / "node", KEY)
    contents = unpack(archive, tmp_path / "node", KEY, trusted=[MALLORY])
    assert contents is not None
    assert contents.kernels == [NAME]
    own = pack(filled, tmp_path / "store", KEY)  # beside it
    assert own.name == archive.name.removesuffix(".tar.gz") + "-u0.tar.gz"
    assert archive.stat().st_uid == MALLORY
    own.unlink()
    assert archives.place(tmp_path / "store", KEY, [MALLORY]) == archive


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, filled: Path, kind: str) -> None:
    archive = pack(filled, tmp_path / "store", KEY)
    moved = archive.rename(tmp_path / "moved")
    if kind == "fifo":
        os.mkfifo(archive)
    else:
        archive.symlink_to(moved)
    with pytest.raises(ArchiveError, match="is not a file" if kind == "fifo" else "is a link"):
        unpack(archive, tmp_path / "node", KEY)
    assert entries(tmp_path / "store")[0].problem


def sealed(path: Path, body: bytes) -> Path:
    path.write_bytes(body + reading.TRAILER_HEAD + hashlib.sha256(body).digest() + reading.TRAILER_TAIL)
    return path


def bomb(path: Path, kind: bytes, size: int) -> Path:
    """A member that claims, and has, so many zeros: a few megabytes of file."""
    info = tarfile.TarInfo("manifest.json" if kind == tarfile.REGTYPE else "x")
    info.type, info.size = kind, size
    inner = io.BytesIO()
    with gzip.GzipFile("", "wb", 6, inner) as packed:
        packed.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(size >> 20):
            packed.write(b"\0" * (1 << 20))
    return sealed(path, inner.getvalue())


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_large_member_is_refused_by_its_header(tmp_path: Path, kind: bytes) -> None:
    archive = bomb(tmp_path / "kernels-bomb.tar.gz", kind, 600 << 20)
    program = (
        "import resource, sys; from pathlib import Path; from warmup.kernels import unpack, entries, ArchiveError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))\n"
        "assert 'unexpected member' in entries(Path(sys.argv[1]).parent)[0].problem\n"
        "try: unpack(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except ArchiveError as e: print(e)\n"
    )
    words = [sys.executable, "-c", program, str(archive), str(tmp_path / "node")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "unexpected member" in done.stdout


def test_a_manifest_that_is_nested_too_deep_spoils_no_list(tmp_path: Path, filled: Path) -> None:
    pack(filled, tmp_path, KEY)
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = 200_000
        tar.addfile(info, io.BytesIO(b"[" * 200_000))
    archive = sealed(tmp_path / "kernels-deep.tar.gz", gzip.compress(inner.getvalue()))
    assert sorted(bool(e.problem) for e in entries(tmp_path)) == [False, True]
    with pytest.raises(CorruptArchive):
        unpack(archive, tmp_path / "node", KEY)


@two_users
def test_a_colleague_whose_files_may_not_be_read(tmp_path: Path, filled: Path) -> None:
    """The first user had umask 077: a colleague gets a sentence, and can still keep an archive of her own."""
    shared = tmp_path / "store"
    shared.mkdir()
    archive = pack(filled, shared, KEY)
    archive.chmod(0o600)
    (lock,) = shared.glob(".*.lock")
    lock.chmod(0o640)
    shared.chmod(0o1777)
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == 0 and str(above) != "/" and not above.stat().st_mode & 0o005:
            above.chmod(0o755)
    mine = tmp_path / "hers"
    kernel(mine / "deepgemm", NAME, "other bytes")
    subprocess.run(["chown", "-R", f"{MALLORY}", str(mine)], check=True)
    mine.chmod(0o700)
    receiving, writing = os.pipe()
    if (child := os.fork()) == 0:  # she can't start this Python where it lies in root's home
        said = "nothing"
        try:
            os.setgroups([])
            os.setgid(MALLORY)
            os.setuid(MALLORY)
            with pytest.raises(ArchiveError, match="cannot be read: Permission denied"):
                unpack(archive, mine, KEY, trusted=[0])
            said = ",".join(archives.pack(mine, shared, KEY, quiet_s=0)[1])
        except BaseException as e:
            said = repr(e)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(receiving, 4096).decode() == f"deepgemm/cache/{NAME}/kernel.cu,deepgemm/cache/{NAME}/kernel.cubin"
    assert {e.path.stat().st_uid for e in entries(shared)} == {0, MALLORY}
