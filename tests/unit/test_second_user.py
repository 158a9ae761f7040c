"""Two unix users on one machine: what mal has put where alice's commands look is skipped, refused and never believed.

Kernel folders and archives are in tests/kernels/test_kernels_second_user.py, secrets in tests/faults/test_security.py.
alice is who runs this: root, whom no mode stops, so that the owner alone decides.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.base.processes import start_time

SCRIPT = Path(__file__).resolve().parents[1] / "golden" / "local.sh"
ALICE, MAL = os.geteuid(), 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be two users")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where both work; `runs` in it is for all users."""
    made = Path(tempfile.mkdtemp(prefix="two-users-"))
    (made / "runs").mkdir()
    for path, mode in ((made, 0o755), (made / "runs", 0o1777)):
        path.chmod(mode)
    (made / "site.yaml").write_text("runs: runs\n")
    yield made
    shutil.rmtree(made)


@pytest.fixture
def alice(folder: Path) -> Run:
    """sgl-launch as alice."""

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        more = {"SGL_LAUNCH_SITE": str(folder / "site.yaml"), "HOME": str(folder), **env}
        return subprocess.run(
            [sys.executable, "-m", "launcher.cli", *words], cwd=folder, capture_output=True, text=True, timeout=60,
            env={**os.environ, **more},
        )  # fmt: skip

    return run


def run_of(uid: int, path: Path, mode: int = 0o755) -> Path:
    """A run folder that this user made."""
    path.mkdir()
    (path / "events.jsonl").write_text('{"time": 1.0, "stage": "nodes", "state": "started", "detail": ""}\n')
    for file in (path, *path.iterdir()):
        os.chown(file, uid, uid)
    path.chmod(mode)
    return path


def test_folders_of_others_end_no_command(folder: Path, alice: Run) -> None:
    run_of(ALICE, folder / "runs/demo-L1")
    run_of(MAL, folder / "runs/demo-L2", 0o700)
    run_of(MAL, folder / "runs/demo-L3")
    listed = alice("list", "--json")
    assert (listed.returncode, [row["job_id"] for row in json.loads(listed.stdout)]) == (0, ["L1"]), listed.stderr
    assert "2 run folders of other users are not shown" in listed.stderr
    assert alice("status").returncode == 0
    assert "there are no logs" not in alice("logs", "L1", "--why").stderr.lower()
    refused = alice("status", "L2")
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_cancel_does_not_believe_another_user(folder: Path, alice: Run) -> None:
    own = subprocess.Popen(["sleep", "60"])
    try:
        theirs = run_of(MAL, folder / "runs/demo-L2")
        claim = {"pid": own.pid, "start_time": start_time(own.pid), "host": os.uname().nodename}
        (theirs / "local.json").write_text(json.dumps(claim))
        for words in (("cancel", "demo"), ("cancel", "L2"), ("cancel", str(theirs))):
            done = alice(*words)
            assert done.returncode == 2, done
            assert own.poll() is None, f"{words} killed alice's process for mal"
    finally:
        own.kill()
        own.wait()


@pytest.mark.parametrize("how", ["folder", "link", "open"])
def test_a_run_folder_that_mal_made_first(folder: Path, alice: Run, how: str) -> None:
    """Nothing in it is read, run or written: alice's job ends before it begins."""
    run, marker = folder / "runs/demo-L9", folder / "runs/was-here"
    if how == "link":
        run.symlink_to(run_of(MAL, folder / "runs/elsewhere", 0o777))
        os.chown(run, MAL, MAL, follow_symlinks=False)
    else:
        run_of(ALICE if how == "open" else MAL, run, 0o777)
    bait = run / "python"
    bait.mkdir()
    (bait / "sitecustomize.py").write_text(f"open({str(marker)!r}, 'w')\n")
    before = sorted(p.name for p in run.iterdir())
    done = alice("job", "run", str(SCRIPT), RUN=str(run), JOB_ID="L9")
    assert done.returncode != 0
    assert "is another user's, or others can write to it: refused" in done.stderr
    assert sorted(p.name for p in run.iterdir()) == before
    assert not marker.exists()


def test_a_folder_of_runs_that_everyone_can_change(folder: Path, alice: Run) -> None:
    (folder / "runs").chmod(0o777)
    done = alice("job", "run", str(SCRIPT), RUN=str(folder / "runs/demo-L9"), JOB_ID="L9")
    assert done.returncode != 0
    assert "can be changed by everyone" in done.stderr
