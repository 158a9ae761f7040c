"""A local script is known from its first moment, also when what starts it is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launcher.executors import local
from launcher.run.find import find_run
from launcher.run.state import job_state

RUNS = Path("runs")


def test_submit_is_killed_once_the_script_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Killed(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(local.subprocess, "Popen", Killed)
    executor = local.ScriptExecutor(RUNS.absolute(), "demo", "exec sleep 600\n", {})
    with pytest.raises(KeyboardInterrupt):
        executor.submit_script()
    (script,) = started
    try:
        run = find_run("demo", RUNS)
        assert run.job_id == "L1"
        assert (run.json("local.json") or {})["pid"] == script.pid
        assert job_state(run).state == "RUNNING"
    finally:
        os.kill(script.pid, signal.SIGKILL)
        script.wait()
    assert job_state(run).ended


def test_it_leads_a_session_of_its_own() -> None:
    run = local.ScriptExecutor(RUNS.absolute(), "demo", "exec sleep 600\n", {}).submit_script()
    pid = (run.json("local.json") or {})["pid"]
    try:
        assert os.getsid(pid) == pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
