"""The record and the logs on storage that is slow, full, read-only or gone; the environment and secrets of a job."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from launcher.base.errors import WorkError
from launcher.job import journal as journal_module
from launcher.job import logs as logs_module
from launcher.job.environment import base_env, write_secrets
from launcher.job.journal import Journal
from launcher.job.logs import Logs
from launcher.job.script import plan_of_script
from launcher.plan.show import to_json
from launcher.render import render

from .helpers import BASE, plan_of

# --- the record -------------------------------------------------------------------------------------------------------


def lines(folder: Path) -> list[tuple[str, str]]:
    found = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [(e["stage"], e["state"]) for e in found]


def test_the_record_is_in_order(folder: Path) -> None:
    (folder / "logs").mkdir()
    journal = Journal(folder)
    journal.begin("nodes")
    journal.fail("nodes", "why")
    journal.fail("stop", "later")
    assert journal.failure == "why"
    assert journal.close(5)
    assert lines(folder) == [("nodes", "started"), ("nodes", "failed"), ("stop", "failed")]
    assert [line[10:] for line in (folder / "logs/job.log").read_text().splitlines()] == [
        "nodes ...", "FAILED: why", "FAILED: later",
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["missing", "a file", "links"])
def test_a_folder_that_takes_nothing(folder: Path, how: str) -> None:
    target = folder / "run"
    if how == "a file":
        target.touch()
    if how == "links":  # somebody else may have laid them
        (target / "logs").mkdir(parents=True)
        for name in ("events.jsonl", "logs/job.log"):
            (target / name).symlink_to(folder / "elsewhere")
    journal = Journal(target)
    journal.begin("nodes")
    assert journal.close(5)
    assert len(journal.events) == 1
    assert not (folder / "elsewhere").exists()


def test_work_that_fails_costs_no_other(folder: Path) -> None:
    (folder / "logs").mkdir()
    journal = Journal(folder)
    journal.later(lambda: 1 / 0)
    journal.say("a name that is no text: \udcff")
    journal.event("stop", "done")
    assert journal.close(5)
    assert lines(folder) == [("stop", "done")]
    assert "a name that is no text: ?" in (folder / "logs/job.log").read_text()


def test_a_record_that_hangs_holds_nothing_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_WAITING", 5)
    go = threading.Event()
    journal = Journal(folder)
    journal.later(go.wait)
    begin = time.monotonic()
    for _ in range(100):
        journal.event("serve", "x")
    assert not journal.close(0.2)
    assert time.monotonic() - begin < 2
    go.set()
    assert len(journal.events) == 100


# --- logs -------------------------------------------------------------------------------------------------------------


def test_a_log_that_has_grown_is_begun_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "_LEAST", 100)
    logs = Logs(folder, files=4, limit=0)
    for n in range(12):
        logs.write("a.log", f"{n:02d} {'x' * 26}\n".encode())  # 30 bytes: three to a file
    logs.close(5)
    assert [line[:2] for line in (folder / "a.log").read_text().splitlines()] == ["09", "10", "11"]
    assert [line[:2] for line in (folder / "a.log.1").read_text().splitlines()] == ["06", "07", "08"]
    assert sorted(p.name for p in folder.glob("a.log*")) == ["a.log", "a.log.1"]
    assert [line[:2] for line in logs.tail("a.log")] == ["04", "05", "06", "07", "08", "09", "10", "11"]
    assert logs.tail("other.log") == []


def test_lines_that_are_dropped_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "_WAITING", 3)
    os.mkfifo(folder / "stuck.log")  # opening it to write waits for a reader
    logs = Logs(folder, files=2, limit=1 << 30)
    logs.write("stuck.log", b"x\n")
    time.sleep(0.2)
    begin = time.monotonic()
    for n in range(10):
        logs.write("a.log", f"{n}\n{n}\n".encode())
    assert time.monotonic() - begin < 1
    with (folder / "stuck.log").open("rb"):
        time.sleep(0.3)
    logs.write("a.log", b"last\n")
    logs.close(5)
    written = (folder / "a.log").read_text().splitlines()
    (note,) = [line for line in written if line.startswith("[")]
    assert note == "[sgl-launch: 14 lines were dropped: the run folder did not take them in time]"
    assert written[-1] == "last"
    assert len(written) == 6 + 1 + 1


# --- environment and secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["RANK", "NODES", "GROUP", "RUN", "SLURM_TIMELIMIT", "SLURM_LABELIO", "SLURM_MEM_PER_CPU", "SLURM_PROCID",
     "SLURM_STEP_ID", "SBATCH_EXPORT", "SALLOC_X", "SRUN_X", "SGL_LAUNCH", "SGL_JOB_ID", "LAUNCH_RANK",
     "PREFILL_0_ADDR", "HF_TOKEN"],
)  # fmt: skip
def test_left_out_of_the_environment(name: str) -> None:
    assert name not in base_env({name: "1"}, ["HF_TOKEN"])


@pytest.mark.parametrize(
    "name",
    ["SLURM_JOB_ID", "SLURM_CONF", "SLURM_JOB_NODELIST", "SLURM_JOB_ID_HET_GROUP_1", "SLURM_JOB_NODELIST_HET_GROUP_0",
     "PATH", "CUDA_VISIBLE_DEVICES", "SGLANG_X", "NCCL_DEBUG", "LAUNCHER", "GPUS_PER_NODE"],
)  # fmt: skip
def test_kept_in_the_environment(name: str) -> None:
    assert base_env({name: "1", "DYN_LOG": "warn"}, []) == {name: "1", "SLURM_EXPORT_ENV": "ALL", "DYN_LOG": "warn"}


def test_secrets_are_files_of_this_user_alone(folder: Path) -> None:
    os.umask(0o022)
    (folder / "file").write_text("from a file\n")
    names = {"A": None, "B": str(folder / "file")}
    assert write_secrets(folder / "secrets", names, {"A": "a b\n"}) == []
    for path, mode in (("", 0o700), ("env", 0o700), ("env/A", 0o600), ("env/B", 0o600)):
        assert (folder / "secrets" / path).stat().st_mode & 0o777 == mode
    assert (folder / "secrets/env/A").read_text() == "a b\n"
    assert (folder / "secrets/env/B").read_text() == "from a file"


def test_secrets_that_are_not_there(folder: Path) -> None:
    (folder / "bytes").write_bytes(b"\xff\xfe")
    names = {"A": None, "B": None, "C": "gone", "D": str(folder), "E": str(folder / "bytes")}
    assert write_secrets(folder / "secrets", names, {"B": ""}) == [
        "A (env_from) is not in the job's environment: export it and submit again",
        "B (env_from) is not in the job's environment: export it and submit again",
        "C: can't read gone (env_from): No such file or directory",
        f"D: can't read {folder} (env_from): Is a directory",
        f"E: can't read {folder}/bytes (env_from): not text",
    ]
    assert write_secrets(folder / "none", {}, {}) == []
    assert not (folder / "none").exists()


# --- the script's plan ------------------------------------------------------------------------------------------------


def test_the_scripts_plan_is_read_back(folder: Path) -> None:
    plan = plan_of(BASE)
    Path("job.sh").write_text(render(plan))
    assert to_json(plan_of_script(Path("job.sh"))) == to_json(plan)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"nodes": 2', '"nodes": 3', "does not make this script's plan any more: make the script anew with"),
        ('"tp-size": 8', '"tp-size": 16', r"would be another\)$"),
        ('"name": "t", "model"', '"name": "t", "oddity": 1, "model"', "does not make this script's plan any more"),
        ('"cluster": "slurm", ', "", r"any more: .*\('cluster'\)$"),
        ('"schema": 1,', '"schema": ,', "the plan at its end was changed and can't be read"),
        ("\nEND_OF_PLAN\n", "\n", "has no plan at its end: it is not a script of sgl-launch, or was cut"),
    ],
)
def test_a_plan_of_another_version(folder: Path, old: str, new: str, said: str) -> None:
    script = render(plan_of(BASE))
    head, mark, tail = script.rpartition("<<'END_OF_PLAN'\n")
    assert old in tail
    Path("job.sh").write_text(head + mark + tail.replace(old, new))
    with pytest.raises(WorkError, match=said):
        plan_of_script(Path("job.sh"))
