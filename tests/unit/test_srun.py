"""What srun says, as it really does: which task was first, how it ended, and whether the job is ending."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.job.steps import Ended, LocalSteps, Place, how_ended, labelled, srun_words

PLACES = [Place(f"n{n}", f"10.0.0.{n}", "eth0") for n in (3, 1, 2)]
RANK_OF = {0: 1, 1: 2, 2: 0}  # Slurm's tasks are in its own order of the nodes


@pytest.mark.parametrize(
    ("said", "srun", "status", "host", "rank"),
    [
        (["srun: error: n1: task 0: Exited with exit code 3"], 3, 3, "n1", 1),
        (["srun: error: n2: task 1: Killed", "srun: error: n1: task 0: Exited with exit code 1"], 137, 137, "n2", 2),
        (["srun: error: n3: task 2: Terminated"], 143, 143, "n3", 0),
        (["srun: error: n3: task 2: Segmentation fault (core dumped)"], 139, 139, "n3", 0),
        (["srun: error: n3: task 2: Aborted (core dumped)"], 134, 134, "n3", 0),
        (["srun: error: n3: task 2: Bus error (core dumped)"], 135, 135, "n3", 0),
        (["srun: error: n3: task 2: Out Of Memory"], 137, 137, "n3", 0),
        (["srun: error: n[1-2]: tasks 0-1: Killed"], 137, 137, "n1", 1),
        (["srun: error: n1,n3: tasks 0,2: Exited with exit code 7"], 7, 7, "n1", 1),
        (["srun: error: n9: task 8: Exited with exit code 1"], 1, 1, "n9", None),
        (["srun: error: Node failure on n2", "srun: Job step aborted: Waiting up to 32 seconds"],
         0, 0, "n2", 2),
        ([], 0, 0, "", None),
    ],
)  # fmt: skip
def test_how_a_step_ended(said: list[str], srun: int, status: int, host: str, rank: int | None) -> None:
    ended = how_ended(srun, said, RANK_OF, PLACES)
    assert (ended.status, ended.host, ended.rank) == (status, host, rank)
    assert not ended.not_begun
    assert all(line.startswith("error: ") for line in ended.said.split("; ") if line)


@pytest.mark.parametrize(
    "line",
    [
        "slurmstepd: error: *** STEP 7.3 ON n1 CANCELLED AT 2026-11-25T10:00:00 ***",
        "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.",
        "srun: forcing job termination",
        "srun: error: Slurm job 525 has expired.",
        "srun: error: Unable to create step for job 7: Job/step already completing or completed",
    ],
)
def test_cancelled(line: str) -> None:
    assert how_ended(143, [line, "srun: error: n1: task 0: Terminated"], RANK_OF, PLACES).cancelled
    assert not how_ended(1, [line], RANK_OF, PLACES).not_begun
    assert not how_ended(143, ["srun: error: n1: task 0: Terminated"], RANK_OF, PLACES).cancelled


@pytest.mark.parametrize(
    ("line", "not_begun"),
    [
        (
            "srun: error: Unable to confirm allocation for job 7: Unable to contact slurm controller (connect failure)",
            True,
        ),
        ("srun: error: Unable to create step for job 7: Unable to contact slurm controller (connect failure)", True),
        ("srun: error: Unable to create step for job 7: Socket timed out on send/recv operation", True),
        # these would be so again and again: they count as an end
        (
            "srun: error: Unable to create step for job 7: Required node not available (down, drained or reserved)",
            False,
        ),
        ("srun: error: Unable to create step for job 7: Requested node configuration is not available", False),
        ("srun: error: Task launch for StepId=7.3 failed on node n2: Socket timed out on send/recv operation", False),
        ("srun: error: n1: task 0: Exited with exit code 1", False),
        ("srun: error: Node failure on n2", False),
    ],
)
def test_a_step_that_was_not_begun(line: str, not_begun: bool) -> None:
    assert how_ended(1, [line], RANK_OF, PLACES).not_begun == not_begun


def test_a_step_of_one_node_knows_its_host() -> None:
    assert how_ended(1, ["srun: something else"], {0: 0}, PLACES[:1]) == Ended(1, "n3")


@pytest.mark.parametrize(
    ("line", "task", "text"),
    [
        (b"0: hello\n", 0, b"hello\n"),
        (b" 3: a: b\n", 3, b"a: b\n"),
        (b"12:\n", 12, b"\n"),
        (b"12: 13: x\n", 12, b"13: x\n"),
        (b"0:   indented\n", 0, b"  indented\n"),
        (b"srun: error: n1: task 0: Killed\n", None, b"srun: error: n1: task 0: Killed\n"),
        (b"slurmstepd: error: x\n", None, b"slurmstepd: error: x\n"),
        (b"\n", None, b"\n"),
    ],
)
def test_labels(line: bytes, task: int | None, text: bytes) -> None:
    assert labelled(line) == (task, text)


def test_the_words_of_srun() -> None:
    words = srun_words("decode-0", ["n1", "n2"], 1, ["--container-image=x"])
    assert words[0] == "srun"
    assert {"--nodelist=n1,n2", "--nodes=2", "--ntasks=2", "--label", "--het-group=1", "--mem=0", "--overlap"} <= {
        *words
    }
    assert words[-1] == "--container-image=x"
    assert not [w for w in srun_words("x", ["n1"], None) if "het" in w]


def test_what_a_process_finds_in_its_environment() -> None:
    steps = LocalSteps(Path("job.sh"), {"A": "base", "B": "base", "GROUP": "?"}, None, print)  # type: ignore[arg-type]
    env = steps.env("decode-0", PLACES[:2], {"B": "own"})
    assert env == {
        "A": "base", "B": "own", "GROUP": "decode-0", "NNODES": "2", "HEAD_ADDR": "10.0.0.3",
        "NODES": "n3 10.0.0.3 eth0 all\nn1 10.0.0.1 eth0 all",
    }  # fmt: skip
