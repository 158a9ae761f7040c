"""The agent on a node (templates/node.sh): blocks of ports that are locked, and folders of jobs that are gone."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.base.portnames import FIRST
from launcher.job.facts import CLAIM, claims_of

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 61_000  # no job's: the files are this machine's


class Agent:
    def __init__(self, folder: Path, scratch: str) -> None:
        (folder / "job.sh").touch()
        text = (ROOT / "templates/node.sh").read_text()
        words = ["bash", "-c", text, "node", "MARK", str(folder), scratch, "", ""]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)}
        )

    def tell(self, order: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def hear(self, *kinds: str) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.split()[1] in kinds:
                return line.split()[1]
        raise AssertionError("it has ended")

    def end(self) -> None:
        if self.process.poll() is None:
            self.tell("end")
            self.process.communicate(timeout=10)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Agent, Agent]]:
    agents = Agent(tmp_path, "sgl-launch-1"), Agent(tmp_path, "sgl-launch-2")
    yield agents
    for agent in agents:
        agent.end()


def test_two_that_claim_one_block_at_once(two: tuple[Agent, Agent]) -> None:
    for turn in range(10):
        for agent in two:
            agent.tell(f"claim {BLOCK + turn}")
        assert sorted(agent.hear("claimed", "taken") for agent in two) == ["claimed", "taken"]


def test_a_claim_ends_with_its_agent_however_that_ends(two: tuple[Agent, Agent]) -> None:
    one, other = two
    one.tell(f"claim {BLOCK} {BLOCK + 1}")
    assert one.hear("claimed", "taken") == "claimed"
    other.tell(f"claim {BLOCK + 1} {BLOCK + 2}")
    assert other.hear("claimed", "taken") == "taken"
    one.process.kill()
    one.process.wait()
    time.sleep(0.5)
    other.tell(f"claim {BLOCK + 1} {BLOCK + 2}")
    assert other.hear("claimed", "taken") == "claimed"


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_what_lies_at_the_name_is_not_opened(two: tuple[Agent, Agent], tmp_path: Path, kind: str) -> None:
    agent = two[0]
    agent.tell(f"claim {BLOCK + 9}")
    agent.hear("claimed", "taken")
    (file,) = [f for d in ("/run/lock", "/var/tmp", "/tmp") for f in Path(d).glob(f".sgl-launch-ports-*-{BLOCK + 9}")]
    agent.tell(f"claim {BLOCK}")
    agent.hear("claimed", "taken")
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    else:
        (tmp_path / "mine").write_text("kept")
        file.symlink_to(tmp_path / "mine")
    try:
        agent.tell(f"claim {BLOCK + 9}")
        assert agent.hear("claimed", "taken") == "taken"
    finally:
        file.unlink()
    if kind == "link":
        assert (tmp_path / "mine").read_text() == "kept"


def test_folders_of_jobs_that_are_gone(tmp_path: Path) -> None:
    first = Agent(tmp_path, "sgl-launch-1")
    first.hear("facts")
    folder = tmp_path / "sgl-launch-1"
    other = tmp_path / "sgl-launch-kernels-0"  # not a job's
    other.mkdir()
    for _ in range(50):
        if (folder / ".held").exists():
            break
        time.sleep(0.1)
    second = Agent(tmp_path, "sgl-launch-2")
    second.tell("ping")
    second.hear("pong")
    assert folder.exists(), "the folder of a job that lives was removed"
    first.process.kill()
    first.process.wait()
    time.sleep(0.5)
    second.end()
    third = Agent(tmp_path, "sgl-launch-3")
    third.tell("ping")
    third.hear("pong")
    assert not folder.exists()
    assert other.exists()
    third.end()
    assert not (tmp_path / "sgl-launch-3").exists()


@pytest.mark.parametrize("base, block, first, count", [
    (FIRST, 256, FIRST, 1),
    (FIRST + 256, 512, FIRST + 256, 2),
    (FIRST + 10, 256, FIRST, 2),
    (15_000, 256, FIRST - 20 * CLAIM, 2),
])  # fmt: skip
def test_what_is_locked_for_a_block(base: int, block: int, first: int, count: int) -> None:
    locked = claims_of(base, block)
    assert (locked[0], len(locked)) == (first, count)
    assert locked[0] <= base < locked[0] + CLAIM
