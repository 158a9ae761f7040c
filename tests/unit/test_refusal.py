"""What sbatch said when it refused a job: once, with the key that it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.executors.refusal import refused

from .helpers import BASE, Cli

FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("output", "end"),
    [
        (
            f"sbatch: error: invalid partition specified: nowhere\n{FAILED}Invalid partition name specified",
            "; look at slurm.partition",
        ),
        (f"{FAILED}Invalid account or account/partition combination specified", "; look at slurm.account"),
        (f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)", "; look at slurm.time"),
        (
            f"{FAILED}Requested node configuration is not available",
            "; look at slurm.gpus_per_node, and at how many nodes the workers take (`sgl-launch plan`)",
        ),
        (
            f"{FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "time limits)",
        ),
        ("sbatch: unrecognized option '--no-such-option'\nTry \"sbatch --help\" for more information", "information"),
        ("", "sbatch refused the job: it did not say why"),
    ],
)
def test_the_key_is_named(output: str, end: str) -> None:
    said = refused(output)
    assert said.startswith("sbatch refused the job: ")
    assert said.endswith(end)
    assert "\n" not in said


def test_it_is_said_once(cli: Cli, programs: Path) -> None:
    Path("c.yaml").write_text(BASE)
    for name in ("srun", "sbatch"):
        made = programs / name
        made.write_text(f"#!/bin/sh\necho '{FAILED}Invalid partition name specified' >&2\nexit 1\n")
        made.chmod(0o755)
    done = cli("submit", "c.yaml")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "sgl-launch: sbatch refused the job: Batch job submission failed: Invalid partition name specified"
        "; look at slurm.partition\n"
    )


def test_a_slurm_that_does_not_answer_has_refused_nothing() -> None:
    said = refused("sbatch: error: fetch_config: DNS SRV lookup failed\nsbatch: fatal: no configuration source")
    assert said.startswith("Slurm does not answer (fetch_config")
    assert said.endswith("--cluster local runs it on this machine")
