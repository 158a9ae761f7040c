"""A run folder on storage that hangs (fsfreeze): requests are answered, `cancel` ends all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chat import ask
from tests.local.run import SMALL, wait_until

from . import table
from .test_machine import ChangedLauncher


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that can be frozen."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    steps = (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(folder)])
    if os.geteuid() != 0 or any(subprocess.run(step, capture_output=True).returncode for step in steps):
        pytest.skip("takes root, and a machine where file systems can be mounted")
    yield folder
    subprocess.run(["fsfreeze", "-u", str(folder)], capture_output=True)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_the_run_folder_hangs(disk: Path) -> None:
    scratch = disk.with_name("scratch")  # the services' data is somewhere else
    scratch.mkdir()
    launcher = ChangedLauncher(disk, more={"TMPDIR": str(scratch)})
    try:
        run = launcher.start(*SMALL)
        run.wait_event("serve", "started")
        url, key = run.url, run.key
        subprocess.run(["fsfreeze", "-f", str(disk)], check=True)
        begin, answered = time.monotonic(), 0
        while time.monotonic() - begin < 20:
            answered += bool(ask(url, "tiny", key=key)["text"])
            time.sleep(0.1)
        assert answered > 50
        assert [p for p in launcher.processes(run.job) if "dynamo.frontend" in p.argv], "a part was ended meanwhile"
        since = time.monotonic()
        words = [str(Path(sys.executable).with_name("sgl-launch")), "cancel", str(run.path)]
        env = {**os.environ, "SGL_LAUNCH_SITE": str(disk / "site.yaml"), "TMPDIR": str(scratch)}
        cancel = subprocess.Popen(words, cwd=disk, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: not launcher.processes(run.job), 15, "the end of all processes")
        clean = time.monotonic() - since
        subprocess.run(["fsfreeze", "-u", str(disk)], check=True)
        assert cancel.wait(timeout=20) == 0
        note = f"{answered} of {answered} answered"
        table.add("the run folder hangs for 20 s, then cancel", None, clean, "143", 0, note)
        assert clean < 10
    finally:
        subprocess.run(["fsfreeze", "-u", str(disk)], capture_output=True)
        launcher.kill_all()
