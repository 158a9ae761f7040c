"""Drills on this machine: a disk that is full, a clock that jumps."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chat import ask
from tests.local.run import SMALL, Launcher, wait_until

from . import table


@dataclass(frozen=True)
class ChangedLauncher(Launcher):
    """With further variables in the environment of all that it starts."""

    more: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {**super().env, **self.more}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("takes root, and a machine where file systems can be mounted")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_the_run_folder_s_disk_full(small_disk: Path) -> None:
    scratch = small_disk.with_name("scratch")  # the services' data is somewhere else
    scratch.mkdir()
    launcher = ChangedLauncher(small_disk, more={"TMPDIR": str(scratch)})
    try:
        run = launcher.start(*SMALL)
        with small_disk.joinpath("filler").open("wb", buffering=0) as filler:
            try:
                while filler.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        assert shutil.disk_usage(small_disk).free == 0
        for _ in range(3):
            run.chat()
        before = run.rank("decode-0")
        os.kill(before.pid, signal.SIGKILL)
        since = time.monotonic()
        wait_until(lambda: [p for p in launcher.processes(run.job) if "decode-0" in p.argv and p.pid != before.pid
                            and "launcher.job.mocker_rank" in p.argv], 20, "the restart")  # fmt: skip
        noticed = time.monotonic() - since
        small_disk.joinpath("filler").unlink()  # a new worker has to write its log

        def answers() -> bool:
            try:
                return bool(ask(run.url, "tiny", key=run.key)["text"])
            except (OSError, ValueError):
                return False

        wait_until(answers, 40, f"an answer\n{run.output}")
        back = time.monotonic() - since
        since = time.monotonic()
        os.kill(run.pid, signal.SIGTERM)
        launcher.wait_gone(timeout=10)
        table.add("14 the run folder's disk full, a worker killed", noticed, time.monotonic() - since, "143", 0,
                  f"an answer again after {back:.1f} s")  # fmt: skip
        assert not run.path.joinpath("secrets").exists()
    finally:
        assert launcher.kill_all() == []


def test_a_clock_that_jumps(tmp_path: Path) -> None:
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    if shutil.which("gcc") is None:
        pytest.skip("takes gcc")
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    offset.write_bytes(struct.pack("q", 0))

    def jump(seconds: int) -> None:
        with offset.open("r+b") as f:  # in place: it is mapped
            f.write(struct.pack("q", seconds))

    launcher = ChangedLauncher(tmp_path, more={"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)})
    try:
        run = launcher.start(*SMALL)
        jump(7200)
        time.sleep(3)  # watches and leases have seen it
        run.chat()
        os.kill(run.rank("decode-0").pid, signal.SIGKILL)
        since = time.monotonic()
        run.wait_event("decode-0", "restarting", timeout=10)
        noticed = time.monotonic() - since
        wait_until(lambda: [e for e in run.events() if e[:2] == ("decode-0", "ready")][1:], 30, "its return")
        run.chat()
        jump(-7200)
        time.sleep(3)
        run.chat()
        assert [e[1] for e in run.events()].count("restarting") == 1, "the jump cost a worker"
        since = time.monotonic()
        os.kill(run.pid, signal.SIGTERM)
        launcher.wait_gone(timeout=10)
        table.add("20 a clock that jumps, a worker killed meanwhile", noticed, time.monotonic() - since, "143", 0,
                  "+2 h, then -4 h: nothing lost")  # fmt: skip
        assert run.events()[-1] == ("stop", "done", "exit status 143")
    finally:
        assert launcher.kill_all() == []
