"""The plan at a script's end is the plan that it was made from; a script of another version is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher.base.errors import WorkError
from launcher.job.script import plan_of_script
from launcher.plan.make import kernels_plan
from launcher.plan.show import to_json
from launcher.render import render

from .helpers import BASE, CONFIGS, plan_of, shipped

MORE = """\
env_from: [HF_TOKEN, {OTHER: "file:~/x y"}]
slurm: {partition: null, comment: a}
warmup: {kernels: {cache_dir: /cache}}
"""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.stem)
def test_of_shipped_configs(config: Path) -> None:
    plan = shipped(config)
    Path("job.sh").write_text(render(plan))
    found = plan_of_script(Path("job.sh"))
    assert (found.roles, found.frontends, found.services) == (plan.roles, plan.frontends, plan.services)


def test_of_a_job_that_builds_kernels() -> None:
    plan = kernels_plan(plan_of(BASE + MORE))
    Path("job.sh").write_text(render(plan))
    found = plan_of_script(Path("job.sh"))
    assert found.only_kernels
    assert (found.config.name, found.nodes) == ("t-kernels", 1)
    assert json.dumps(to_json(found)["groups"]) == json.dumps(to_json(plan)["groups"])


def test_secrets_keep_their_files() -> None:
    Path("job.sh").write_text(render(plan_of(BASE + MORE)))
    assert plan_of_script(Path("job.sh")).config.env_from == {"HF_TOKEN": None, "OTHER": "~/x y"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"nodes": 2', '"nodes": 3', "its nodes would be another"),
        ('"schema": 1', '"schema": 7', "its schema would be another"),
        ('"tp-size": 8', '"tp-size": "8"', "must be a whole number"),
    ],
)
def test_another_version(old: str, new: str, said: str) -> None:
    script = render(plan_of(BASE))
    assert old in script
    Path("job.sh").write_text(script.replace(old, new, 1))
    with pytest.raises(WorkError) as error:
        plan_of_script(Path("job.sh"))
    assert "does not make this script's plan any more: make the script anew" in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["", "#!/bin/bash\necho\n", "x <<'END_OF_PLAN'\n{}"])
def test_no_plan_at_all(text: str) -> None:
    Path("job.sh").write_text(text)
    with pytest.raises(WorkError, match="has no plan at its end"):
        plan_of_script(Path("job.sh"))
