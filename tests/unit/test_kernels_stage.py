"""The stage `kernels`: which jobs have it, and what it does when folders, archives or steps are not as wished."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.base.errors import WorkError
from launcher.job.steps import Ended
from launcher.kernels import stage
from launcher.kernels.wish import compile_seconds, manifest_of
from launcher.render import render
from launcher.run.folder import RunFolder
from warmup.caches import FOLDERS

from .helpers import BASE, CONFIGS, plan_of, shipped

DONE = {"how": "unpacked", "kernels": 45, "compiled": 0, "files": 99, "read_bytes": 8_000_000, "seconds": 0.4}


class FakeJob:
    """Its steps end as they are told: (status, last line) by name of the step, the last of a list again and again."""

    def __init__(self, config: str, ends: dict[str, list[tuple[int, Any]]]) -> None:
        self.plan, self.ends, self.helpers = plan_of(config), ends, {}
        self.said: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.variables: dict[str, str] = {}
        self.started: list[tuple[str, str]] = []
        self.outside: list[list[str]] = []
        self.lines: dict[str, Any] = {}
        self.journal = SimpleNamespace(
            say=self.said.append, event=lambda _, state, detail="": self.events.append((state, detail))
        )
        self.logs = SimpleNamespace(folder=Path("/logs"), tail=lambda name: [self.lines[name.rpartition("-")[0]]])
        self.steps = SimpleNamespace(start=self._start)

    def _start(self, name: str, process: str, places: Any, env: dict[str, str]) -> Any:
        self.started.append((name, env["KERNELS_DO"]))
        ends = self.ends.get(name, [(0, DONE)])
        status, line = ends.pop(0) if ends[1:] else ends[0]
        self.lines[name] = line if isinstance(line, str) else json.dumps(line)
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        ended.set_result(Ended(status, rank=0))
        return SimpleNamespace(name=name, ended=ended)

    def places(self, nodes: Any) -> Any:
        return nodes

    def share(self, variables: Any) -> None:
        self.variables.update(variables)

    async def run_outside(self, words: list[str]) -> str:
        self.outside.append(words)
        return self.ends.pop("outside", [(0, "")])[0][1]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "runs" / "t-1").mkdir(parents=True)
    return RunFolder(tmp_path / "runs" / "t-1")


def prepare(job: FakeJob, run: RunFolder) -> stage.Prepared:
    return asyncio.run(stage.prepare_all(job, run))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_every_script_has_the_stage_but_where_nothing_is_compiled(config: Path) -> None:
    plan = shipped(config)
    script = render(plan)
    none = plan.config.engine == "mocker" or config.stem.startswith("sglang-cpu")
    assert ("\nkernels() {" in script) is not none
    for variable in FOLDERS:
        assert (f'{variable}="${{CACHES}}/' in script) is not none, variable


def test_what_the_config_sets_stays_and_one_key_turns_all_off() -> None:
    script = render(plan_of(BASE + "env: {TRITON_CACHE_DIR: /mine}\n"))
    assert "TRITON_CACHE_DIR=/mine" in script
    assert "${CACHES}/triton" not in script
    off = render(plan_of(BASE + "warmup: {kernels: {enabled: false}}\n"))
    assert "CACHE_DIR" not in off
    assert "\nkernels()" not in off


def test_all_nodes_read_at_once_and_once(run: RunFolder) -> None:
    job = FakeJob(BASE, {})
    prepared = prepare(job, run)
    assert job.started == [("kernels-head", "ensure"), ("kernels-all", "unpack")]
    assert prepared.variables == {}  # /m is no model whose shapes are known: SGLang looks for them itself
    assert job.variables["ARCHIVES"] == str(run.path.parent / f"kernels_{os.geteuid()}")
    assert job.variables["CACHES"].startswith(f"/tmp/sgl-launch-kernels-{os.geteuid()}/")
    told = json.loads((run.path / "kernels.json").read_text())
    assert told["folder"] == told["usual"] == job.variables["CACHES"]
    assert (run.path / "python/warmup/caches/archive.py").exists()
    assert job.events[0][0] == "prepared"
    assert "8.0 MB of archive" in job.events[0][1]


WIDE = BASE.replace("tp-size: 8", "tp-size: 16")


def test_where_the_archive_lacks_something_the_others_read_after_the_build(run: RunFolder) -> None:
    built = {**DONE, "how": "built", "compiled": 45, "seconds": 19.1}
    job = FakeJob(WIDE, {"kernels-head": [(0, built)], "kernels-all": [(4, '{"how": "empty"}'), (0, DONE)]})
    prepare(job, run)
    assert job.started == [("kernels-head", "ensure"), ("kernels-all", "unpack"), ("kernels-all", "unpack")]
    assert "45 kernels built in 19.1 s (45 compiled)" in job.events[0][1]


def test_a_folder_of_somebody_else_gets_this_job_another(run: RunFolder) -> None:
    job = FakeJob(WIDE, {"kernels-head": [(3, "error: /tmp/x: belongs to another user"), (0, DONE)]})
    prepare(job, run)
    assert f"kernels-{os.geteuid()}-" in job.variables["CACHES"]
    told = json.loads((run.path / "kernels.json").read_text())
    assert told["folder"] == job.variables["CACHES"] != told["usual"]
    assert any("belongs to another user" in line for line in job.said)


def test_workers_compile_by_themselves_where_nothing_could_be_prepared(run: RunFolder) -> None:
    ends: dict[str, list[tuple[int, Any]]] = {"kernels-head": [(1, "error: no NVIDIA driver here")]}
    config = WIDE.replace("path: /m", "path: /m, served_name: deepseek-ai/DeepSeek-R1")
    job = FakeJob(config, dict(ends))
    prepared = prepare(job, run)
    assert prepared.variables == {}
    assert prepared.compile_s == compile_seconds(manifest_of(job.plan.config.model_dump(mode="json"))) > 60
    assert "no NVIDIA driver here" in job.said[-1]
    with pytest.raises(WorkError, match=r"could not be prepared.*no NVIDIA driver"):
        prepare(FakeJob(config + "warmup: {kernels: {required: true}}\n", dict(ends)), run)


def test_a_container_finds_its_folder_made(run: RunFolder) -> None:
    docker = WIDE + "container: {runtime: docker, image: i}\n"
    script = render(plan_of(docker))
    assert '--volume "${CACHES}:${CACHES}"' in script
    assert '--volume "${ARCHIVES}:${ARCHIVES}"' in script
    job = FakeJob(docker, {})
    prepare(job, run)
    assert job.outside == [["bash", "-c", stage.MAKE, "caches", job.variables["CACHES"]]]
    job = FakeJob(docker, {"outside": [(0, "/tmp: Read-only file system")]})
    with pytest.raises(WorkError, match=r"Read-only file system; set warmup\.kernels\.local_dir"):
        prepare(job, run)


def make(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", stage.MAKE, "caches", str(folder)], capture_output=True, text=True)


def test_the_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "kernels-0" / "abc"
    for _ in range(2):
        assert make(folder).returncode == 0
    assert [f.stat().st_mode & 0o777 for f in (folder.parent, folder)] == [0o700, 0o700]
    folder.parent.chmod(0o777)
    assert make(folder).returncode == 0
    assert folder.parent.stat().st_mode & 0o022 == 0
    link = tmp_path / "linked-0"
    link.symlink_to(folder.parent)
    assert "is not a folder of this user alone" in make(link / "abc").stdout
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
        assert "is not a folder of this user alone" in make(folder).stdout


def test_what_was_compiled_all_the_same_is_said(run: RunFolder) -> None:
    job = FakeJob(WIDE, {"kernels-merge-0": [(0, {"new": 3, "by_cache": {"triton": 2, "tvm-ffi": 1}})]})
    job.ends["kernels-merge-2"] = [(0, {"new": 0, "by_cache": {}})]
    asyncio.run(stage.pack_back(job, Counter({"nvcc": 2, "ptxas": 5})))
    assert job.events == [
        ("compiled", "compilers seen: 7 (ptxas 5, nvcc 2); new files of caches: 3 (triton 2, tvm-ffi 1)")
    ]
