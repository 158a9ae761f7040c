"""Archives: what is packed comes back, and nothing else is ever believed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from kernels_fakes import files, kernel, key_fields

from warmup.kernels import (
    ArchiveError,
    CacheKey,
    CorruptArchive,
    ForeignArchive,
    StoreError,
    entries,
    merge_back,
    pack,
    prune,
    show,
    unpack,
    verify,
)
from warmup.kernels import archive as archives
from warmup.kernels import folder as cache_folder

KEY = CacheKey(**key_fields())
NAMES = ["kernel.sm90_fp8_gemm_1d2d.aa01", "kernel.transpose_fp32.bb02"]


@pytest.fixture
def filled(tmp_path):
    for name in NAMES:
        kernel(tmp_path / "dg", name, name)
    return tmp_path / "dg"


@pytest.fixture
def packed(filled, tmp_path):
    return pack(filled, tmp_path / "store", KEY)


def test_what_is_packed_comes_back(filled, packed, tmp_path):
    contents = unpack(packed, tmp_path / "node", KEY)
    assert sorted(contents.kernels) == NAMES
    assert files(tmp_path / "node") == files(filled)
    record = cache_folder.read_record(tmp_path / "node")
    assert record.key == KEY.to_json()
    assert cache_folder.unfinished(tmp_path / "node", record) == []
    unpack(packed, tmp_path / "node", KEY)  # once more over what is there


def test_the_name_tells_the_target_and_follows_the_key(packed):
    assert packed.name.startswith("deepgemm-sm_90x132_0.1.4-")
    others = {CacheKey(**key_fields(**{name: "other"})).file_name for name in key_fields()}
    assert len(others | {packed.name}) == 8


def test_plain_tar_and_gzip_read_it(packed):
    listed = subprocess.run(["tar", "tzf", packed], capture_output=True, text=True, check=True)
    assert listed.stdout.splitlines()[0] == "manifest.json"
    assert listed.stderr == ""
    subprocess.run(["gzip", "-t", packed], check=True)


def test_every_single_byte_is_covered(packed, tmp_path):
    data = packed.read_bytes()
    bad = tmp_path / packed.name
    for place in range(len(data)):
        bad.write_bytes(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        with pytest.raises(CorruptArchive, match=r"deepgemm-.*\.tar\.gz"):
            archives.read(bad)


@pytest.mark.parametrize("keep", [0, 1, 10, 100, 0.25, 0.5, 0.9, -1, -70])
def test_a_cut_archive_is_refused_and_leaves_no_trace(packed, tmp_path, keep):
    data = packed.read_bytes()
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(CorruptArchive, match=r"bad\.tar\.gz"):
        unpack(bad, tmp_path / "node", KEY)
    assert not cache_folder.kernels(tmp_path / "node")
    assert cache_folder.read_record(tmp_path / "node") is None
    assert not (tmp_path / "node" / cache_folder.STAGING).exists()


def test_appended_bytes_are_refused(packed):
    packed.write_bytes(packed.read_bytes() + b"\0")
    with pytest.raises(CorruptArchive, match="checksum"):
        archives.read(packed)


def test_a_foreign_archive_is_refused_with_what_differs(packed, tmp_path):
    mine = CacheKey(**key_fields(nvcc="12.9", gpu="sm_90x78"))
    with pytest.raises(ForeignArchive) as caught:
        unpack(packed, tmp_path / "node", mine)
    assert "gpu sm_90x132, not sm_90x78; nvcc 13.0, not 12.9" in str(caught.value)
    assert packed.name in str(caught.value)
    assert not cache_folder.kernels(tmp_path / "node")


def test_a_missing_archive_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "gone.tar.gz", tmp_path / "node", KEY)


def crafted(path: Path, members, manifest=None) -> Path:
    """An archive with a right checksum whatever is in it."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        head = json.dumps(
            manifest
            or {
                "format": 1, "key": KEY.to_json(), "created": "now", "host": "h",
                "kernels": {
                    NAMES[0]: {
                        "kernel.cu": hashlib.sha256(b"evil").hexdigest(),
                        "kernel.cubin": hashlib.sha256(b"evil").hexdigest(),
                    }
                },
            }
        ).encode()  # fmt: skip
        info = tarfile.TarInfo("manifest.json")
        info.size = len(head)
        tar.addfile(info, io.BytesIO(head))
        for name, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = "/etc/passwd"
            info.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"evil"))
    body = gzip.compress(inner.getvalue())
    path.write_bytes(body + archives.TRAILER_HEAD + hashlib.sha256(body).digest() + archives.TRAILER_TAIL)
    return path


@pytest.mark.parametrize(
    "name, kind",
    [
        ("../escaped", tarfile.REGTYPE),
        ("/tmp/escaped", tarfile.REGTYPE),
        ("cache/../../escaped", tarfile.REGTYPE),
        (f"cache/{NAMES[0]}/../../../escaped", tarfile.REGTYPE),
        (f"cache/{NAMES[0]}/kernel.cu/x", tarfile.REGTYPE),
        (f"cache/{NAMES[0]}/other", tarfile.REGTYPE),
        (f"cache/{NAMES[1]}/kernel.cu", tarfile.REGTYPE),
        (f"cache/{NAMES[0]}/kernel.cu", tarfile.SYMTYPE),
        (f"cache/{NAMES[0]}/kernel.cu", tarfile.LNKTYPE),
        (f"cache/{NAMES[0]}/kernel.cu", tarfile.CHRTYPE),
        ("cache", tarfile.DIRTYPE),
        (f"cache/{NAMES[0]}\n/kernel.cu", tarfile.REGTYPE),
    ],
)
def test_only_kernel_files_by_their_exact_names_are_unpacked(tmp_path, name, kind):
    bad = crafted(tmp_path / "store.tar.gz", [(name, kind)])
    with pytest.raises(CorruptArchive, match="unexpected member"):
        unpack(bad, tmp_path / "node", KEY)
    assert not (tmp_path / "escaped").exists()
    assert not list(tmp_path.rglob("kernel.cu"))


def test_a_member_twice_or_missing_or_changed_is_refused(tmp_path):
    source, cubin = (f"cache/{NAMES[0]}/{file}" for file in cache_folder.FILES)
    for members, match in (
        ([(source, tarfile.REGTYPE)] * 2, "unexpected member"),
        ([(source, tarfile.REGTYPE)], r"kernel\.cubin is in the manifest but not"),
    ):
        with pytest.raises(CorruptArchive, match=match):
            unpack(crafted(tmp_path / "bad.tar.gz", members), tmp_path / "node", KEY)
    wrong = {
        "format": 1, "key": KEY.to_json(), "created": "now", "host": "h",
        "kernels": {NAMES[0]: {"kernel.cu": "0" * 64, "kernel.cubin": "0" * 64}},
    }  # fmt: skip
    both = [(source, tarfile.REGTYPE), (cubin, tarfile.REGTYPE)]
    with pytest.raises(CorruptArchive, match="does not have the packed bytes"):
        unpack(crafted(tmp_path / "bad.tar.gz", both, wrong), tmp_path / "node", KEY)


@pytest.mark.parametrize(
    "change, error, match",
    [
        ({"format": 2}, ForeignArchive, "has format 2"),
        ({"kernels": {"../x": {}}}, CorruptArchive, "which is no kernel"),
        ({"kernels": []}, CorruptArchive, "cannot be read"),
        ({"key": {}}, CorruptArchive, "cannot be read"),
    ],
)
def test_a_manifest_that_lies_is_refused(tmp_path, change, error, match):
    value = {"format": 1, "key": KEY.to_json(), "created": "", "host": "", "kernels": {}}
    bad = crafted(tmp_path / "bad.tar.gz", [], {**value, **change})
    with pytest.raises(error, match=match):
        archives.read(bad)


def test_half_a_kernel_is_not_packed(filled, tmp_path):
    (filled / "cache" / NAMES[0] / "kernel.cubin").write_bytes(b"not elf")
    (filled / "cache" / "kernel.x").mkdir()
    (filled / "cache" / "notes").mkdir()
    assert list(archives.read(pack(filled, tmp_path / "s", KEY)).kernels) == [NAMES[1]]
    with pytest.raises(ArchiveError, match="holds no whole kernel"):
        pack(tmp_path / "empty", tmp_path / "s", KEY)


def test_a_store_that_cannot_be_written_is_named(filled, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveError, match=r"file/store: cannot be written"):
        pack(filled, tmp_path / "file" / "store", KEY)


def test_merge_back_adds_only_what_is_new(filled, packed, tmp_path):
    before = packed.read_bytes()
    assert merge_back(filled, tmp_path / "store", KEY) == []
    assert packed.read_bytes() == before
    kernel(filled, "kernel.late.cc03", "late")
    assert merge_back(filled, tmp_path / "store", KEY) == ["kernel.late.cc03"]
    assert sorted(archives.read(packed).kernels) == sorted([*NAMES, "kernel.late.cc03"])
    assert sorted(item.suffix for item in (tmp_path / "store").iterdir()) == [".gz", ".lock"]


def test_merge_back_replaces_a_corrupt_archive_and_makes_a_missing_one(filled, packed, tmp_path):
    packed.write_bytes(b"torn")
    assert merge_back(filled, tmp_path / "store", KEY) == NAMES
    packed.unlink()
    assert merge_back(filled, tmp_path / "store", KEY) == NAMES
    assert sorted(archives.read(packed).kernels) == NAMES


def _merge(work):
    folder, store, number = work
    kernel(Path(folder), f"kernel.job.{number:04d}", f"job {number}")
    return merge_back(Path(folder), Path(store), KEY)


def test_jobs_that_end_together_lose_no_kernel(tmp_path):
    work = [(tmp_path / f"node{i}", tmp_path / "store", i) for i in range(12)]
    with ProcessPoolExecutor(6) as pool:
        added = list(pool.map(_merge, work))
    assert all(len(names) == 1 for names in added)
    assert len(archives.read(tmp_path / "store" / KEY.file_name).kernels) == 12


def _pack_or_read(work):
    folder, store, number = work
    if number % 2:
        return len(archives.read(pack(Path(folder), Path(store), KEY)).kernels)
    return len(archives.read(Path(store) / KEY.file_name).kernels)


def test_readers_beside_writers_always_see_a_whole_archive(filled, packed, tmp_path):
    work = [(filled, tmp_path / "store", i) for i in range(60)]
    with ProcessPoolExecutor(6) as pool:
        assert set(pool.map(_pack_or_read, work)) == {2}


def test_a_killed_writer_leaves_the_old_archive(filled, packed, tmp_path):
    before = packed.read_bytes()
    (filled / "cache" / NAMES[0] / "kernel.cubin").write_bytes(b"\x7fELF" + os.urandom(30 << 20))
    code = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parents[2])!r}]\n"
        "from pathlib import Path\nfrom warmup.kernels import CacheKey, pack\n"
        f"print('go', flush=True)\n"
        f"pack(Path({str(filled)!r}), Path({str(tmp_path / 'store')!r}), "
        f"CacheKey(**{KEY.to_json()!r}))"
    )
    victim = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    victim.stdout.readline()
    store = tmp_path / "store"
    end = time.monotonic() + 20
    while not list(store.glob(".*.part")) and time.monotonic() < end:
        time.sleep(0.005)
    victim.kill()
    victim.wait()
    victim.stdout.close()
    assert packed.read_bytes() == before
    assert sorted(archives.read(packed).kernels) == NAMES
    assert [entry.name for entry in entries(store)] == [packed.name]
    part = next(store.glob(".*.part"))
    os.utime(part, (0, 0))
    prune(store, days=1)
    assert not part.exists()


@pytest.fixture
def store(filled, tmp_path):
    """Three archives, the newest first in `names`, and one that is broken."""
    place, names = tmp_path / "cache_dir", []
    for age, image in enumerate(["a", "b", "c"]):
        file = pack(filled, place, CacheKey(**key_fields(image=image)))
        os.utime(file, (time.time() - age * 86400 * 10,) * 2)
        names.append(file.name)
    (place / "deepgemm-broken.tar.gz").write_bytes(b"no archive")
    os.utime(place / "deepgemm-broken.tar.gz", (1, 1))
    return place, names


def test_list_is_newest_first_and_names_what_is_broken(store):
    place, names = store
    listed = entries(place)
    assert [entry.name for entry in listed] == [*names, "deepgemm-broken.tar.gz"]
    assert "is not a kernel archive" in listed[-1].problem
    document = json.loads(json.dumps([entry.to_json() for entry in listed]))
    assert document[0]["kernels"] == 2
    assert document[0]["key"]["image"] == "a"
    assert entries(place / "nothing") == []


def test_show_takes_a_part_of_a_name(store):
    place, names = store
    assert show(place, names[1][-20:]).name == names[1]
    with pytest.raises(StoreError, match="4 archives named 'deepgemm'"):
        show(place, "deepgemm")
    with pytest.raises(StoreError, match=f"no archive named 'xyz'; there are: .*{names[0]}"):
        show(place, "xyz")


def test_verify_reads_every_byte(store):
    place, names = store
    file = place / names[0]
    data = bytearray(file.read_bytes())
    data[-300] ^= 1
    file.write_bytes(data)
    problems = {entry.name: entry.problem for entry in verify(place)}
    assert "checksum" in problems[names[0]]
    assert problems[names[1]] is None
    assert [entry.problem for entry in verify(place, [names[2]])] == [None]


def test_prune_goes_by_age_number_and_size(store):
    place, names = store
    size = (place / names[0]).stat().st_size
    assert [e.name for e in prune(place, days=5, dry_run=True)][:2] == names[1:]
    assert len(entries(place)) == 4
    assert [e.name for e in prune(place, keep=2)] == [names[2], "deepgemm-broken.tar.gz"]
    assert [e.name for e in prune(place, max_bytes=size + 10)] == [names[1]]
    assert [e.name for e in entries(place)] == names[:1]
    with pytest.raises(StoreError, match="needs a rule"):
        prune(place)
