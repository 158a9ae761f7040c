"""Which nodes another try does without, and when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from launcher.job import requeue as module

JOB = "JobId=7 JobName=a NumNodes={} ExcNodeList={} Partition=gpu TimeLimit=04:00:00"
NODES = "n1 idle\nn2 allocated\nn3 drained*\nn4 mixed\nn5 down*\n"


def asked(monkeypatch: pytest.MonkeyPatch, job: str, nodes: str = NODES) -> tuple[str, str]:
    async def run_program(argv: Sequence[str], limit: float, env: object = None) -> tuple[int, str]:
        if argv[:3] == ["scontrol", "show", "job"]:
            return (0, job) if job else (1, "slurm_load_jobs error: Invalid job id specified")
        if argv[:3] == ["scontrol", "show", "hostnames"]:
            return 0, argv[3].replace("n[1-2]", "n1,n2").replace(",", "\n")
        assert argv[0] == "sinfo"
        return (0, nodes) if nodes else (1, "sinfo: error: Unable to contact slurm controller")

    monkeypatch.setattr(module, "run_program", run_program)
    return asyncio.run(module._without("7", "n4"))


@pytest.mark.parametrize(
    ("job", "nodes", "found"),
    [
        (JOB.format("2", "(null)"), NODES, ("n4", "")),
        # what the config excludes, or an earlier try, stays excluded
        (JOB.format("1-1", "n2"), NODES, ("n2,n4", "")),
        (
            JOB.format("2-2", "n[1-2]"),
            NODES,
            ("n[1-2],n4", "without n[1-2],n4, partition gpu has 0 usable nodes and the job needs 2"),
        ),
        # Slurm does not tell, or tells of two components
        ("", NODES, ("n4", "")),
        (JOB.format("9", "(null)"), "", ("n4", "")),
        (f"{JOB.format('9', '(null)')}\n{JOB.format('9', '(null)')}", NODES, ("n4", "")),
    ],
)
def test_without(job: str, nodes: str, found: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, job, nodes) == found
