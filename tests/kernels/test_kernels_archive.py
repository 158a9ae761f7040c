"""One archive of all caches: what goes in comes out, whole or not at all, and only where it fits."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from kernels_fakes import ROOT, cached, kernel, key_fields

from warmup.caches import FOLDERS, reading
from warmup.caches import folder as caches
from warmup.caches.writing import ArchiveError
from warmup.kernels import (
    CacheKey,
    CorruptArchive,
    ForeignArchive,
    StoreError,
    entries,
    pack,
    prune,
    read,
    show,
    unpack,
    verify,
)

KEY = CacheKey(**key_fields())
NAME = "kernel.sm90_fp8_gemm_1d2d.aa01"
CUBIN = f"deepgemm/cache/{NAME}/kernel.cubin"
TRITON = "triton/ab12/__grp__kernel.json"
LIBRARY = f"flashinfer/.cache/flashinfer/0.6/90a/cached_ops/{'long_' * 40}/op.so"


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A node's folder after a warm-up."""
    folder = tmp_path / "node"
    folder.mkdir(mode=0o700)
    kernel(folder / "deepgemm", NAME)
    cached(folder, TRITON, b'{"child_paths": {}}')
    cached(folder, LIBRARY, b"\x7fELF" * 1000, mode=0o755, mtime_ns=1_700_000_000_123_456_789)
    return folder


def packed(folder: Path, store: Path, key: CacheKey = KEY) -> Path:
    return pack(folder, store, key, quiet_s=0)[0]


def tree(folder: Path) -> dict[str, tuple[bytes, int, bool]]:
    return {
        str(f.relative_to(folder)): (f.read_bytes(), f.stat().st_mtime_ns, os.access(f, os.X_OK))
        for f in sorted(folder.rglob("*"))
        if f.is_file() and not f.name.startswith(".")
    }


def test_what_is_packed_comes_back_with_its_times(filled: Path, tmp_path: Path) -> None:
    archive = packed(filled, tmp_path / "store")
    contents = unpack(archive, tmp_path / "new", KEY)
    assert contents is not None
    assert contents.kernels == [NAME]
    assert tree(tmp_path / "new") == tree(filled)
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert archive.stat().st_mode & 0o022 == 0


def test_once_there_the_archive_is_not_read_again(filled: Path, tmp_path: Path) -> None:
    archive = packed(filled, tmp_path / "store")
    assert unpack(archive, tmp_path / "new", KEY) is not None
    assert unpack(archive, tmp_path / "new", KEY) is None
    (tmp_path / "new" / TRITON).unlink()  # a cleaner of /tmp
    assert unpack(archive, tmp_path / "new", KEY) is not None
    assert tree(tmp_path / "new") == tree(filled)


def test_every_cache_of_the_table_is_kept_but_for_a_models_own_files(tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.mkdir(mode=0o700)
    for place in FOLDERS.values():
        cached(node, f"{place}/x", b"1")
    for path in ("sglang/ple/weights", "triton/a.lock", "triton/tmp.pid_1/x", "inductor/locks/x", "tvm-ffi/m/lock"):
        cached(node, path, b"1")
    cached(node, "elsewhere/x", b"1")
    (node / "triton" / "link").symlink_to("/etc/passwd")
    kept = {f"{place}/x" for place in FOLDERS.values() if place not in ("deepgemm", "hf-modules")}
    assert set(read(packed(node, tmp_path / "store")).files) - {"deepgemm/x"} == kept


def test_what_may_still_be_written_is_left_for_the_next_time(filled: Path, tmp_path: Path) -> None:
    fresh = cached(filled, "tvm-ffi/module/half.so", b"\x7fELF")
    os.utime(fresh)
    cached(filled, "tvm-ffi/module/build.ninja", b"rule")
    _, new = pack(filled, tmp_path / "store", KEY, quiet_s=60)
    assert "tvm-ffi/module/build.ninja" not in new
    assert TRITON in new


def test_the_name_tells_model_and_gpu_and_follows_the_key() -> None:
    other = CacheKey(**key_fields(driver="581.1"))
    assert KEY.file_name.startswith("kernels-DeepSeek_R1-sm_90x132-")
    assert KEY.file_name != other.file_name
    names = {CacheKey(**{**key_fields(), field: "other"}).file_name for field in key_fields()}
    assert len(names) == len(key_fields())


def test_plain_tar_and_gzip_read_it(filled: Path, tmp_path: Path) -> None:
    archive = packed(filled, tmp_path / "store")
    subprocess.run(["gzip", "--test", archive], check=True)
    listed = subprocess.run(["tar", "-tzf", archive], check=True, capture_output=True, text=True).stdout.split()
    assert listed == ["manifest.json", "0", "1", "2", "3"]


def test_every_single_byte_is_covered(filled: Path, tmp_path: Path) -> None:
    archive = packed(filled, tmp_path / "store")
    whole = archive.read_bytes()
    for at in range(0, len(whole), max(len(whole) // 150, 1)):
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CorruptArchive):
            unpack(archive, tmp_path / "new", KEY)
    assert tree(tmp_path / "new") == {}


@pytest.mark.parametrize("keep", [0, 1, 10, 100, 0.25, 0.5, 0.9, -1, -70])
def test_a_cut_archive_is_refused_and_leaves_no_trace(filled: Path, tmp_path: Path, keep: float) -> None:
    archive = packed(filled, tmp_path / "store")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(CorruptArchive, match=archive.name):
        unpack(archive, tmp_path / "new", KEY)
    assert tree(tmp_path / "new") == {}


def test_a_foreign_archive_is_refused_with_what_differs(filled: Path, tmp_path: Path) -> None:
    archive = packed(filled, tmp_path / "store")
    with pytest.raises(ForeignArchive, match=r"driver 580.1, not 581\.1"):
        unpack(archive, tmp_path / "new", CacheKey(**key_fields(driver="581.1")))
    assert tree(tmp_path / "new") == {}


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_an_archive_that_others_can_write_is_refused(filled: Path, tmp_path: Path, mode: int) -> None:
    archive = packed(filled, tmp_path / "store")
    archive.chmod(mode)
    with pytest.raises(ArchiveError, match="can be written by others"):
        unpack(archive, tmp_path / "new", KEY)
    # and it is replaced by whoever packs next
    archive, new = pack(filled, tmp_path / "store", KEY, quiet_s=0)
    assert CUBIN in new
    assert unpack(archive, tmp_path / "new", KEY) is not None


def made(path: Path, files: Any, members: list[tuple[str, bytes, bytes]], **more: Any) -> Path:
    """A sealed archive with any manifest and members (name, type, data)."""
    inner = io.BytesIO()
    fields = {"format": reading.FORMAT, "key": KEY.to_json(), "created": "", "host": "", "files": files}
    head = json.dumps({**fields, **more})
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, kind, data in [("manifest.json", tarfile.REGTYPE, head.encode()), *members]:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(data) if kind == tarfile.REGTYPE else 0, "/etc/passwd"
            tar.addfile(info, io.BytesIO(data))
    body = gzip.compress(inner.getvalue())
    path.write_bytes(body + reading.TRAILER_HEAD + hashlib.sha256(body).digest() + reading.TRAILER_TAIL)
    return path


def about(data: bytes = b"x", **changes: Any) -> list[Any]:
    fields = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "mtime_ns": 1, "runs": False}
    return list({**fields, **changes}.values())


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "triton/../../x", "triton", "triton/", "triton//x", "triton/./x", "unknown/x", ".seeded",
     "hf-modules/x.py", "triton/a\nb", "triton/" + "a" * 256, "triton/" + "a/" * 600 + "x", ""],
)  # fmt: skip
def test_a_path_outside_of_the_caches_is_refused_before_anything_is_written(tmp_path: Path, path: str) -> None:
    archive = made(tmp_path / "a", {"triton/ok/x": about(), path: about()}, [("0", b"0", b"x"), ("1", b"0", b"x")])
    with pytest.raises(CorruptArchive, match="refused"):
        unpack(archive, tmp_path / "new", KEY)
    assert tree(tmp_path / "new") == {}


@pytest.mark.parametrize(
    "files, members",
    [
        ({"triton/a/x": about()}, []),
        ({"triton/a/x": about()}, [("1", b"0", b"x")]),
        ({"triton/a/x": about()}, [("0", b"0", b"x"), ("1", b"0", b"x")]),
        ({"triton/a/x": about()}, [("0", b"0", b"y")]),
        ({"triton/a/x": about()}, [("0", b"0", b"xx")]),
        ({"triton/a/x": about()}, [("0", tarfile.SYMTYPE, b"")]),
        ({"triton/a/x": about()}, [("0", tarfile.LNKTYPE, b"")]),
        ({"triton/a/x": about()}, [("0", tarfile.CHRTYPE, b"")]),
        ({"triton/a/x": about(size=reading.MAX_FILE + 1)}, [("0", b"0", b"x")]),
        ({"triton/a/x": about(size=-1)}, [("0", b"0", b"x")]),
        ({"triton/a/x": about(mtime_ns=1 << 70)}, [("0", b"0", b"x")]),
        ({f"triton/{n}/x": about(size=reading.MAX_FILE) for n in range(9)}, []),
        ({"triton/a/x": ["only"]}, []),
        (["triton/a/x"], []),
        ({f"triton/a/{n}": about() for n in range(reading.MAX_FILES + 1)}, []),
    ],
    ids=["missing", "other name", "one more", "other bytes", "longer", "link", "hard link", "device", "large",
         "negative", "time", "large in all", "no fields", "no mapping", "many"],
)  # fmt: skip
def test_a_manifest_that_lies_is_refused(tmp_path: Path, files: Any, members: Any) -> None:
    with pytest.raises(CorruptArchive):
        unpack(made(tmp_path / "a", files, members), tmp_path / "new", KEY)
    assert tree(tmp_path / "new") == {}


def test_an_archive_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForeignArchive, match="has format 1"):
        unpack(made(tmp_path / "a", {}, [], format=1), tmp_path / "new", KEY)


def test_half_a_kernel_is_neither_packed_nor_kept(filled: Path, tmp_path: Path) -> None:
    archive = packed(filled, tmp_path / "store")
    (kernel(filled / "deepgemm", "kernel.half.01") / "kernel.cubin").unlink()
    assert pack(filled, tmp_path / "store", KEY, quiet_s=0)[1] == []
    broken = tmp_path / "new" / "deepgemm" / "cache" / NAME
    broken.mkdir(parents=True)
    (tmp_path / "new").chmod(0o700)
    (broken / "kernel.cu").write_text("half")
    unpack(archive, tmp_path / "new", KEY)
    assert caches.is_whole(broken)


def test_only_what_is_new_is_added_and_nothing_written_without(filled: Path, tmp_path: Path) -> None:
    archive = packed(filled, tmp_path / "store")
    before = archive.stat()
    assert pack(filled, tmp_path / "store", KEY, quiet_s=0) == (archive, [])
    assert (archive.stat().st_ino, archive.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    node = tmp_path / "other"
    unpack(archive, node, KEY)
    cached(node, "triton/cd/k.cubin", b"new")
    assert pack(node, tmp_path / "store", KEY, quiet_s=0)[1] == ["triton/cd/k.cubin"]
    assert unpack(archive, node, KEY) is None  # what was packed here is here
    assert set(read(archive).files) == {*caches.files(filled, 0), "triton/cd/k.cubin"}


def test_a_file_that_was_made_anew_replaces_the_old_one(filled: Path, tmp_path: Path) -> None:
    archive = packed(filled, tmp_path / "store")
    before = archive.stat().st_ino
    os.utime(filled / TRITON, ns=(1, 1))  # written again, the same: no reason to write the archive
    assert pack(filled, tmp_path / "store", KEY, quiet_s=0)[1] == []
    assert archive.stat().st_ino == before
    cached(filled, LIBRARY, b"\x7fELF other", mtime_ns=1_700_000_009_000_000_000)
    assert pack(filled, tmp_path / "store", KEY, quiet_s=0)[1] == [LIBRARY]
    unpack(archive, tmp_path / "new", KEY)
    assert (tmp_path / "new" / LIBRARY).read_bytes() == b"\x7fELF other"


def test_jobs_that_end_together_lose_nothing(filled: Path, tmp_path: Path) -> None:
    archive = packed(filled, tmp_path / "store")
    nodes = [tmp_path / f"n{n}" for n in range(6)]
    for n, node in enumerate(nodes):
        unpack(archive, node, KEY)
        cached(node, f"triton/new{n}/x", b"%d" % n)
    threads = [threading.Thread(target=packed, args=(node, tmp_path / "store")) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"triton/new{n}/x" for n in range(6)} < set(read(archive).files)


def test_a_killed_writer_leaves_the_old_archive(filled: Path, tmp_path: Path) -> None:
    archive = packed(filled, tmp_path / "store")
    before = archive.read_bytes()
    cached(filled, "triton/new/x", b"x")
    program = (
        "import os, sys; from pathlib import Path; from warmup.caches import archive\n"
        "from warmup.kernels import CacheKey; import json\n"
        "archive.os.fsync = lambda _: os._exit(9)\n"
        "archive.pack(Path(sys.argv[1]), Path(sys.argv[2]), CacheKey(**json.loads(sys.argv[3])), quiet_s=0)\n"
    )
    words = [sys.executable, "-c", program, str(filled), str(tmp_path / "store"), json.dumps(KEY.to_json())]
    assert subprocess.run(words, cwd=ROOT).returncode == 9
    assert archive.read_bytes() == before
    packed(filled, tmp_path / "store")
    assert "triton/new/x" in read(archive).files


def test_room_and_noexec_are_looked_at_first(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(filled, tmp_path / "store")
    real = os.statvfs(tmp_path)

    def says(**changes: int) -> None:
        names = ("f_flag", "f_bavail", "f_frsize")
        found = type("About", (), {**{name: getattr(real, name) for name in names}, **changes})
        monkeypatch.setattr(caches.os, "statvfs", lambda _: found)

    says(f_bavail=0)
    with pytest.raises(caches.FolderError, match=r"needs \d+ MiB and has 0; set warmup\.kernels\.local_dir"):
        unpack(archive, tmp_path / "new", KEY)
    says(f_flag=os.ST_NOEXEC)
    with pytest.raises(caches.FolderError, match="mounted noexec"):
        unpack(archive, tmp_path / "new", KEY)
    assert tree(tmp_path / "new") == {}


def test_a_store_that_cannot_be_written_is_named(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(ArchiveError, match="store: cannot be written"):
        packed(filled, tmp_path / "store")


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Path:
    for number, driver in enumerate(("one", "two", "three")):
        (filled / ".seeded").unlink(missing_ok=True)
        file = packed(filled, tmp_path / "store", CacheKey(**key_fields(driver=driver)))
        os.utime(file, (1_000_000 + number, 1_000_000 + number))
    return tmp_path / "store"


def test_list_show_verify_and_prune(store: Path) -> None:
    listed = entries(store)
    assert [e.contents.key.driver for e in listed if e.contents] == ["three", "two", "one"]
    assert show(store, listed[0].name[-20:]).path == listed[0].path
    with pytest.raises(StoreError, match="3 archives named 'kernels'"):
        show(store, "kernels")
    bad = listed[1].path
    bad.write_bytes(bad.read_bytes()[:-1])
    assert [bool(e.problem) for e in verify(store)].count(True) == 1
    gone = prune(store, keep=1)
    assert len(gone) == 2
    assert len(entries(store)) == 1
