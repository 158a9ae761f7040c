"""An update is tried on the nodes where the service runs now, before it is queued."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher.config.load import load_config
from launcher.plan.make import make_plan
from launcher.plan.show import to_json
from launcher.run.folder import RunFolder
from launcher.service import fit
from tests.slurm.deploy import small

GOOD = {"index": "0", "interface": "eth0 10.0.0.1", "nofile": "65536", "model": "3 99 1"}


@pytest.mark.parametrize(
    ("one", "two", "found"),
    [
        ({}, {}, []),
        ({"model": "missing"}, {"model": "missing"}, ["model: the model's folder is not there"]),
        ({"model": "missing"}, {}, []),  # that node's matter: another one may be taken
        ({"image": "missing"}, {"no_program": "apptainer", "image": "1"}, ["image: not on PATH: apptainer"]),
        ({"gpus": "0", "listening": "30001"}, {}, []),  # its own job's nodes have these
        ({}, None, []),  # one that does not answer
    ],
)
def test_what_all_nodes_lack(
    one: dict[str, str], two: dict[str, str] | None, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.yaml").write_text(small())
    plan = make_plan(*load_config(str(tmp_path / "c.yaml")))
    serving = tmp_path / "small-3"
    serving.mkdir()
    (serving / "plan.json").write_text(json.dumps(to_json(plan)))
    (serving / "hosts").write_text("0 n1 10.0.0.1 eth0\n1 n2 10.0.0.2 eth0\n")
    nodes = {"n1": GOOD | one, **({} if two is None else {"n2": GOOD | two})}
    said = "".join(f"SGL_FACT {host} {name} {value}\n" for host, own in nodes.items() for name, value in own.items())
    monkeypatch.setattr(fit, "gather", lambda *_: said)
    assert fit.unfit(plan, RunFolder(serving), print) == found
