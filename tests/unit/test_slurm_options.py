"""The script's #SBATCH lines."""

from __future__ import annotations

import pytest

from launcher.plan.slurm_options import OWNED_OPTIONS, SBATCH_OPTIONS, sbatch_directives

from .helpers import BASE, plan_of, roles


def directives(slurm: str, text: str = BASE) -> list[str]:
    (found,) = sbatch_directives(plan_of(f"{text}slurm: {{{slurm}}}\n"))
    return found


def test_what_the_plan_decides() -> None:
    text = roles("{args: {tp-size: 16}}", "{args: {tp-size: 8}}")
    assert directives("", text) == ["--job-name=t", "--nodes=3", "--ntasks-per-node=1", "--gpus-per-node=8"]


def test_no_more_gpus_than_a_worker_uses() -> None:
    assert "--gpus-per-node=3" in directives("", roles("{args: {tp-size: 2}}", "{args: {tp-size: 1}}"))


@pytest.mark.parametrize(
    ("request_", "line"),
    [("gpus-per-node", ["--gpus-per-node=8"]), ("gres", ["--gres=gpu:8"]), ("none", [])],
)
def test_how_gpus_are_asked_for(request_: str, line: list[str]) -> None:
    assert directives(f"gpu_request: {request_}")[3:] == line


def test_options_as_sbatch_spells_them() -> None:
    found = directives(
        "partition: h100, time: 04:00:00, mem: 0, exclusive: true, requeue: false, qos: , "
        "cpus_per_task: 8, constraint: 1.10, comment: 'a b'"
    )
    assert found[4:] == [
        "--partition=h100",
        "--time=04:00:00",
        "--mem=0",
        "--exclusive",
        "--cpus-per-task=8",
        "--constraint=1.10",
        "--comment=a b",
    ]


def test_owned_options_are_options() -> None:
    assert set(OWNED_OPTIONS) <= SBATCH_OPTIONS
