"""The script's #SBATCH lines."""

from __future__ import annotations

import re

import pytest

from launcher.base.errors import InputError
from launcher.check.slurm import share_note
from launcher.plan.slurm_options import OWNED_OPTIONS, SBATCH_OPTIONS, sbatch_directives, sbatch_quoted

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


@pytest.mark.parametrize(
    ("slurm", "lines"),
    [
        ("gpu_type: h100", ["--gpus-per-node=h100:8"]),
        ("gpu_type: h100, gpu_request: gres", ["--gres=gpu:h100:8"]),
        ("gres: 'gpu:h100:8'", ["--gres=gpu:h100:8"]),
        ("gres: 'gpu:nvidia_h200:8,nvme:100', gpu_request: gres", ["--gres=gpu:nvidia_h200:8,nvme:100"]),
        ("gres: 'nvme:100'", ["--gpus-per-node=8", "--gres=nvme:100"]),
        ("gres: [nvme], gpu_request: gres", ["--gres=gpu:8,nvme"]),
        ("gres: 'tmp:1', gpu_request: none", ["--gres=tmp:1"]),
        ("nodelist: [n1, 'n[3-4]']", ["--gpus-per-node=8", "--nodelist=n1,n[3-4]"]),
        ("options: ['--argos=no', --uenv]", ["--gpus-per-node=8", "--argos=no", "--uenv"]),
    ],
)
def test_the_sites_dialect(slurm: str, lines: list[str]) -> None:
    assert directives(slurm)[3:] == lines


@pytest.mark.parametrize(
    ("slurm", "message"),
    [
        ("gpus_per_node: 'h100:8'", "write gpus_per_node: 8 and gpu_type: h100"),
        ("gpus_per_node: 8, gres: 'gpu:h100:4'", "gpu:h100:4 asks for 4 GPUs a node, and gpus_per_node is 8"),
        ("gpu_type: a100, gres: 'gpu:h100:8'", "differ; leave one of them out"),
        ("argos: 'no'", "slurm.options: ['--argos=no']"),
        ("options: ['argos=no']", "write an option as one word"),
        ("options: ['--nodes=2']", "can't be set: follows from the workers"),
        ("options: ['--time=1']", "write it as a key, slurm.time"),
        ("time: [1, 2]", "must be one value"),
        ("nodelist: [{a: b}]", "must be one value"),
    ],
)
def test_what_the_dialect_has_not(slurm: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        directives(slurm)


@pytest.mark.parametrize("value", ["CORP\\jdoe", "path\\", "a 'b' \\c", 'q"\\"'])
def test_backslashes_reach_sbatch(value: str) -> None:
    """sbatch takes a backslash as an escape within quotes, too."""
    word = sbatch_quoted(f"--comment={value}")
    text, quoted, escaped = "", "", False
    for c in word:  # as its own parser goes (Slurm 22.05, sbatch_opt.c)
        if escaped:
            text, escaped = text + c, False
        elif c == "\\":
            escaped = True
        elif quoted:
            quoted, text = ("", text) if c == quoted else (quoted, text + c)
        elif c in "'\"":
            quoted = c
        else:
            text += c
    assert text == f"--comment={value}"


def test_one_core_beside_eight_gpus_is_said() -> None:
    assert "one CPU core" in share_note(plan_of(BASE).config)
    for own in ("exclusive: true", "cpus_per_task: 64", "cpus-per-gpu: 8", "gpu_request: none"):
        assert share_note(plan_of(f"{BASE}slurm: {{{own}}}\n").config) == ""
