"""The command line starts light: what a command does not need is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.plan.show import to_json

from .helpers import BASE, REPO, plan_of
from .test_runs import DEAD, add, make_run

HEAVY = {"submitit", "aiohttp", "rich", "torch", "sglang", "nixl", "nats", "pyetcd", "etcd3", "grpc", "numpy"}
NOT_FOR_HELP = HEAVY | {"pydantic", "pydantic_core", "yaml", "jinja2", "asyncio", "ssl"}
NOT_FOR_PLAN = HEAVY | {"jinja2", "asyncio"}

PROBE = """
import sys
from launcher.cli import main
sys.argv = ["sgl-launch", *sys.argv[1:]]
try:
    main()
finally:
    print("\\nMODULES", *sys.modules)
"""


def imported(*args: str, folder: Path = REPO) -> set[str]:
    """Top-level modules after a run of sgl-launch in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", PROBE, *args], capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.rpartition("MODULES ")[2].split()}


@pytest.mark.parametrize("args", [["--help"], ["--version"]])
def test_help(args: list[str]) -> None:
    found = imported(*args)
    assert "click" in found
    assert found & NOT_FOR_HELP == set()


def test_plan() -> None:
    found = imported("plan", "configs/dsr1.yaml")
    assert {"pydantic", "yaml"} <= found  # so that the probe is seen to work
    assert found & NOT_FOR_PLAN == set()


@pytest.mark.parametrize(
    "args", [["render", "configs/dsr1.yaml"], ["submit", "--dry-run", "--cluster", "local", "configs/local.yaml"]]
)
def test_render(args: list[str]) -> None:
    found = imported(*args)
    assert "jinja2" in found
    assert found & (HEAVY - {"rich"}) == set()


LOOK = (["list"], ["status"], ["logs"], ["logs", "--why"], ["wait", "--for", "done"], ["cancel", "L1"])


@pytest.mark.parametrize("args", LOOK)
def test_commands_that_look_at_runs(folder: Path, args: list[str]) -> None:
    """A job that has ended: etcd is not asked, and no config is read."""
    run = make_run("demo-L1", process=DEAD)
    run.write_json("plan.json", to_json(plan_of(BASE)))
    (run.path / "logs" / "nats.log").write_text("x\n")
    add(run, (1.0, "serve", "started"), (2.0, "stop", "done", "exit status 0"))
    found = imported(*args, folder=folder)
    heavy = (HEAVY | {"pydantic", "pydantic_core", "jinja2", "asyncio"}) - ({"rich"} if args == ["status"] else set())
    assert found & heavy == set()
