"""The build with a real process for a compiler: what is kept when it is killed at any moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from kernels_fakes import (
    alive,
    build_script,
    compiled,
    fake_finder,
    fake_nvcc,
    files,
    kernel,
    key_fields,
    manifest,
    toolchain,
)

from warmup.caches import archive as archives
from warmup.caches import folder as caches
from warmup.kernels import BuildError, CacheKey, FolderError, StandinError, build_folder
from warmup.kernels import folder as cache_folder
from warmup.kernels.compile import effort

KEY = {"k": "1", "shapes": "1"}
KEY_OF_ARCHIVE = CacheKey(**key_fields())


@pytest.fixture
def build(tmp_path):
    """build(folder, seconds=…, …) with the fakes; .nvcc is the compiler's path."""
    state = {"nvcc": fake_nvcc(tmp_path / "bin"), "finder": fake_finder(tmp_path / "finder")}

    def run(folder, *, seconds=None, count=6, mark="", status=0, key=None, newer=False, **options):
        if seconds is not None:
            state["nvcc"] = fake_nvcc(tmp_path / "bin", seconds)
        finder = fake_finder(tmp_path / "finder", count, mark, status, newer)
        return build_folder(
            manifest(), folder, key=key or KEY, toolchain=toolchain(state["nvcc"]),
            arch="sm_90", finder=finder, **options,
        )  # fmt: skip

    run.state = state
    return run


def test_every_kernel_is_compiled_once_and_whole(build, tmp_path):
    seen = []
    result = build(tmp_path / "dg", jobs=3, on_progress=seen.append)
    names = cache_folder.kernels(tmp_path / "dg")
    assert (result.compiled, result.total, len(names)) == (6, 6, 6)
    assert sorted(compiled(build.state["nvcc"])) == names
    assert all(data.startswith((b"// kernel", b"\x7fELF half// kernel"))
               for data in files(tmp_path / "dg").values())  # fmt: skip
    assert (seen[-1].done, seen[-1].total, seen[-1].phase) == (6, 6, "compile")
    assert {item.name for item in (tmp_path / "dg").iterdir()} == {
        "cache", "kernels-1.json", ".lock",
    }  # fmt: skip


def test_the_layout_of_newer_versions_is_kept_with_its_marker(build, tmp_path):
    assert build(tmp_path / "dg", newer=True).compiled == 6
    name = cache_folder.kernels(tmp_path / "dg")[0]
    kernel_folder = tmp_path / "dg" / "cache" / name
    assert name.startswith("fake.")
    assert {item.name for item in kernel_folder.iterdir()} == set(caches.KNOWN)
    # The stand-in's path is nowhere left: what is written down is the real compiler.
    nvcc = str(build.state["nvcc"])
    assert json.loads((kernel_folder / "meta.json").read_text()) == {"command": nvcc}
    node = tmp_path / "one"
    node.mkdir(mode=0o700)
    shutil.copytree(tmp_path / "dg", node / "deepgemm")
    archive, _ = archives.pack(node, tmp_path / "store", KEY_OF_ARCHIVE, quiet_s=0)
    archives.unpack(archive, tmp_path / "other", KEY_OF_ARCHIVE)
    assert files(tmp_path / "other" / "deepgemm") == files(tmp_path / "dg")
    (kernel_folder / ".committed").unlink()
    assert name not in cache_folder.kernels(tmp_path / "dg")
    assert build(tmp_path / "dg", newer=True).compiled == 1


def test_a_version_that_reworks_cubins_is_refused(build, tmp_path):
    finder = fake_finder(tmp_path / "finder")
    text = Path(finder[1]).read_text().replace(
        "        (base / \"cache\").mkdir", "        (made / 'kernel.cubin').write_bytes(b'x')\n"
        "        (base / \"cache\").mkdir"
    )  # fmt: skip
    Path(finder[1]).write_text(text)
    with pytest.raises(StandinError, match="reworks its cubins"):
        build_folder(
            manifest(), tmp_path / "dg", key=KEY, toolchain=toolchain(build.state["nvcc"]),
            arch="sm_90", finder=finder,
        )  # fmt: skip


def test_the_second_run_has_nothing_to_do_and_needs_no_finder(build, tmp_path):
    build(tmp_path / "dg")
    began = time.monotonic()
    result = build(tmp_path / "dg", status=9)  # this finder would fail
    assert result.nothing_to_do
    assert result.total == 6
    assert time.monotonic() - began < 1
    assert len(compiled(build.state["nvcc"])) == 6


def test_a_damaged_kernel_is_compiled_again(build, tmp_path):
    build(tmp_path / "dg")
    first, second = cache_folder.kernels(tmp_path / "dg")[:2]
    (tmp_path / "dg" / "cache" / first / "kernel.cubin").unlink()
    (tmp_path / "dg" / "cache" / second / "kernel.cubin").write_bytes(b"")
    assert build(tmp_path / "dg").compiled == 2
    assert len(cache_folder.kernels(tmp_path / "dg")) == 6


def test_flipped_bytes_are_found_though_the_name_is_right(build, tmp_path):
    build(tmp_path / "dg")
    name = cache_folder.kernels(tmp_path / "dg")[0]
    file = tmp_path / "dg" / "cache" / name / "kernel.cubin"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    record = cache_folder.read_record(tmp_path / "dg", KEY)
    assert cache_folder.unfinished(tmp_path / "dg", record) == [name]


def test_another_key_searches_anew(build, tmp_path):
    build(tmp_path / "dg")
    result = build(tmp_path / "dg", mark=" other", key={"k": "2"})
    assert (result.compiled, result.total) == (6, 6)
    assert len(cache_folder.kernels(tmp_path / "dg")) == 12


def test_the_empty_kernel_never_reaches_the_cache(build, tmp_path):
    build(tmp_path / "dg")
    assert not any(b"stand_in" in data for data in files(tmp_path / "dg").values())


def test_a_refused_kernel_is_named_and_the_others_kept(build, tmp_path):
    with pytest.raises(BuildError, match=r"6 of 6 kernels did not compile") as caught:
        build(tmp_path / "dg", mark=" refuse me")
    assert "kernel.cu(1): error: refused" in str(caught.value)
    assert "-O3 -Ix" in str(caught.value)
    assert not cache_folder.kernels(tmp_path / "dg")
    assert cache_folder.read_record(tmp_path / "dg", KEY) is None


def test_a_failing_finder_is_shown_with_its_output(build, tmp_path):
    with pytest.raises(BuildError, match="status 3"):
        build(tmp_path / "dg", status=3)
    with pytest.raises(BuildError, match="met no kernel"):
        build(tmp_path / "dg2", count=0)


def test_a_compiler_that_does_not_run_is_named(build, tmp_path):
    build.state["nvcc"].write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    with pytest.raises(StandinError, match="cannot compile an empty kernel for sm_90: broken"):
        build_folder(
            manifest(), tmp_path / "dg", key=KEY, toolchain=toolchain(build.state["nvcc"]),
            arch="sm_90", finder=fake_finder(tmp_path / "finder"),
        )  # fmt: skip


def test_more_jobs_end_sooner(build, tmp_path):
    def seconds(jobs):
        return build(tmp_path / f"dg{jobs}", seconds=0.3, count=8, jobs=jobs).total_s

    assert seconds(1) / seconds(8) > 2


@pytest.mark.parametrize("moment", [0.05, 0.4, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_at_any_moment_nothing_half_written_is_there(build, tmp_path, moment, how):
    nvcc = fake_nvcc(tmp_path / "bin", seconds=0.4)
    finder = fake_finder(tmp_path / "finder", count=5)
    victim = subprocess.Popen(build_script(tmp_path / "dg", nvcc, finder), stderr=-3)
    time.sleep(moment)
    victim.send_signal(how)
    victim.wait(20)
    left = set(cache_folder.kernels(tmp_path / "dg"))
    on_disk = {item.name for item in (tmp_path / "dg" / "cache").glob("*")}
    assert left == on_disk  # what has a name is whole
    assert all(b"half// kernel" in data for path, data in files(tmp_path / "dg").items()
               if path.endswith(".cubin"))  # fmt: skip
    again = build(tmp_path / "dg", count=5)
    assert again.total == 5
    assert again.compiled == 5 - len(left)
    assert not (tmp_path / "dg" / caches.STAGING).exists()


def test_a_killed_build_takes_its_compilers_along(tmp_path):
    nvcc = fake_nvcc(tmp_path / "bin", seconds=30)
    finder = fake_finder(tmp_path / "finder", count=3)
    victim = subprocess.Popen(build_script(tmp_path / "dg", nvcc, finder, jobs=3))
    staging = tmp_path / "dg" / caches.STAGING
    pids: list[int] = []
    end = time.monotonic() + 15
    while len(pids) < 3 and time.monotonic() < end:
        time.sleep(0.1)
        pids = [pid for pid in children(victim.pid) if "kernel.cu" in command(pid)]
    assert len(pids) == 3
    assert staging.exists()
    victim.kill()
    victim.wait(10)
    end = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in listed.read_text().split()] if listed.exists() else []


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_what_was_found_is_not_searched_again_after_an_interruption(build, tmp_path):
    build(tmp_path / "dg")
    sources = {
        name: {
            "source": (tmp_path / "dg" / "cache" / name / "kernel.cu").read_text(),
            "arguments": ["{source}", "-cubin", "-o", "{cubin}"],
            "extras": {},
        }
        for name in cache_folder.kernels(tmp_path / "dg")
    }
    (tmp_path / "dg" / "kernels-1.json").unlink()
    (tmp_path / "dg" / "found.json").write_text(json.dumps({"key": KEY, "kernels": sources}))
    assert build(tmp_path / "dg", status=9).nothing_to_do  # this finder would fail
    assert not (tmp_path / "dg" / "found.json").exists()
    (tmp_path / "dg" / "kernels-1.json").unlink()
    (tmp_path / "dg" / "found.json").write_text("{torn")
    assert build(tmp_path / "dg").nothing_to_do


def test_two_builds_do_not_write_one_folder(build, tmp_path):
    with (
        caches.exclusive(tmp_path / "dg"),
        pytest.raises(FolderError, match=rf"process {os.getpid()} on"),
    ):
        build(tmp_path / "dg")
    assert build(tmp_path / "dg").compiled == 6


def test_a_folder_that_cannot_be_made_is_named(build, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match=r"file/dg: cannot be written"):
        build(tmp_path / "file" / "dg")


def test_commit_replaces_what_is_broken_and_keeps_what_is_whole(tmp_path):
    name = "kernel.fake.0123"
    whole = kernel(tmp_path / "a", name, "new")
    broken = tmp_path / "dg" / "cache" / name
    broken.mkdir(parents=True)
    (broken / "kernel.cu").write_text("// no cubin\n")
    cache_folder.commit(whole, tmp_path / "dg", name)
    assert b"new" in (broken / "kernel.cubin").read_bytes()
    cache_folder.commit(kernel(tmp_path / "b", name, "late"), tmp_path / "dg", name)
    assert b"new" in (broken / "kernel.cubin").read_bytes()
    with pytest.raises(FolderError, match="is not a whole kernel"):
        cache_folder.commit(tmp_path / "nothing", tmp_path / "dg", name)


def test_threads_that_commit_one_kernel_leave_one_whole(tmp_path):
    name = "kernel.fake.0123"
    staged = [kernel(tmp_path / str(i), name, f"t{i}") for i in range(8)]
    threads = [threading.Thread(target=cache_folder.commit, args=(item, tmp_path / "dg", name)) for item in staged]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache_folder.kernels(tmp_path / "dg") == [name]


def test_slow_kernels_start_first():
    def source(block_m, block_n):
        return f"impl<\n        K,\n        0, 0, 0,\n        1,\n        {block_m}, {block_n}, 128,\n"

    assert effort(source(64, 160)) > effort(source(128, 128)) > effort(source(64, 48))
    assert effort("something else") == 1.0
