"""`preflight CONFIG` while its short job waits in Slurm's queue: stand-ins for Slurm's programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.base.errors import WorkError
from launcher.preflight import allocation as module
from launcher.preflight.allocation import allocation

from .helpers import BASE, Cli, plan_of

PENDING = "salloc: Pending job allocation 17"


def program(folder: Path, name: str, body: str) -> None:
    made = folder / name
    made.write_text(f"#!/bin/bash\n{body}\n")
    made.chmod(0o755)


@pytest.fixture
def slurm(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """salloc waits until there is a file `granted`; squeue tells what is in the file `reason`."""
    monkeypatch.setattr(module, "ASK_EVERY", 0.05)
    program(
        programs,
        "salloc",
        f"echo '{PENDING}' >&2; until [ -e {programs}/granted ]; do sleep 0.05; done; "
        "echo 'salloc: Granted job allocation 17' >&2",
    )
    program(programs, "squeue", f'echo "17|PENDING|N/A|N/A|$(cat {programs}/reason)"')
    program(programs, "scancel", f'echo "$@" >>{programs}/cancelled')
    (programs / "reason").write_text("Resources\n")
    return programs


def test_it_says_why_it_waits_and_gives_the_nodes_back(slurm: Path) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.endswith("(Resources)"):
            (slurm / "reason").write_text("Priority\n")
        if line.endswith("(Priority)"):
            (slurm / "granted").touch()

    with allocation(plan_of(BASE), say, timeout=20) as job_id:
        assert job_id == "17"
        assert not (slurm / "cancelled").exists()
    assert [line.split()[0] for line in said[1:3]] == ["queued", "queued"]
    assert said[1].endswith("waits for nodes to become free (Resources)")
    assert said[2].endswith("before it in the queue (Priority)")
    assert said[3].endswith("nodes        granted")
    assert (slurm / "cancelled").read_text() == "17\n"


def test_a_wait_that_is_too_long_is_given_up(slurm: Path, cli: Cli) -> None:
    Path("c.yaml").write_text(BASE)
    done = cli("preflight", "c.yaml", "--timeout", "0.3")
    assert done.code == 1
    assert "for nodes to become free (Resources)\n" in done.err
    last = "sgl-launch: Slurm gave no nodes within 0.3 s: job 17 waits for Resources, and is cancelled\n"
    assert done.err.endswith(last)
    assert (slurm / "cancelled").read_text() == "17\n"


def test_a_refusal_is_what_slurm_says(slurm: Path) -> None:
    program(slurm, "salloc", "echo 'salloc: error: Invalid partition' >&2; exit 1")
    refused = pytest.raises(WorkError, match="Slurm gave no nodes: salloc: error: Invalid partition")
    with refused, allocation(plan_of(BASE), lambda _: None):
        pass
    assert not (slurm / "cancelled").exists()
