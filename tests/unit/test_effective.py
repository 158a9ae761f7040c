"""effective.yaml: a run's config from its folder alone is the config that was submitted."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from launcher.config import load_config
from launcher.config.effective import effective
from launcher.run.find import find_run

from .helpers import BASE, CONFIGS, Cli, load

ODD = """\
slurm: {account: 0017, qos: 1.10, partition: "1e3", time: 04:00:00, comment: "on", mem: 0}
env: {A: 1.50, B: "it's: \\"quoted\\" # no comment", C: yes, D: "", E: true, F: "~", NG: é, H: 1_000}
prefill: {args: {tp-size: 8, x-list: [a, 1, "2", 0.10], y: {}, z: {a: {b: [1]}}}}
env_from: [HF_TOKEN, {OTHER: "file:~/.token"}]
timeouts: {ready: 1e3}
"""


@pytest.mark.parametrize("config", CONFIGS, ids=[c.stem for c in CONFIGS])
def test_every_shipped_config(config: Path) -> None:
    before, _ = load_config(str(config), sites=())
    Path("again.yaml").write_text(effective(str(config), [], before))
    after, _ = load_config("again.yaml", sites=())
    assert after.model_dump() == before.model_dump()


def test_texts_and_numbers_stay_what_they_are() -> None:
    before, _ = load(BASE.replace("prefill: {args: {tp-size: 8}}\n", "") + ODD, ["env.I=0x10"])
    Path("again.yaml").write_text(effective("c.yaml", ["env.I=0x10"], before))
    after, _ = load_config("again.yaml", sites=())
    assert after.model_dump() == before.model_dump()
    assert after.slurm.given == before.slurm.given


def test_submit_writes_it_without_secrets(cli: Cli, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """base, site file and --set are all in it; of env_from the names alone."""
    monkeypatch.setenv("SGL_LAUNCH", "/bin/false")  # the script ends at once
    monkeypatch.setenv("HF_TOKEN", "hf_thisIsASecret")
    (folder / "bases" / "m").mkdir(parents=True)
    Path("bases/b.yaml").write_text(BASE.replace("/m", "./m"))
    Path("site.yaml").write_text("slurm: {partition: h100}\n")
    monkeypatch.setenv("SGL_LAUNCH_SITE", str(folder / "site.yaml"))
    Path("c.yaml").write_text("base: bases/b.yaml\nname: mine\nenv_from: [HF_TOKEN]\n")
    done = cli("submit", "c.yaml", "--cluster", "local", "--set", "ports.base=20000")
    assert done.code == 0, done.err
    run = find_run("mine", Path("runs"))
    with contextlib.suppress(ChildProcessError):  # it may have been reaped already
        os.waitpid((run.json("local.json") or {})["pid"], 0)
    for path in run.path.rglob("*"):
        assert not path.is_file() or b"hf_thisIsASecret" not in path.read_bytes(), path
    monkeypatch.delenv("SGL_LAUNCH_SITE")
    for file in ("c.yaml", "bases/b.yaml", "site.yaml"):
        Path(file).unlink()
    again, _ = load_config(str(run.path / "effective.yaml"), sites=())
    assert (again.name, again.model.path, again.served_name) == ("mine", f"{folder}/bases/m", "m")
    assert (again.slurm.given, again.ports.base, again.env_from) == ({"partition": "h100"}, 20000, {"HF_TOKEN": None})
