"""The command line starts light: what a command does not need is not imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .helpers import REPO

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


def imported(*args: str) -> set[str]:
    """Top-level modules after a run of sgl-launch in a process of its own."""
    done = subprocess.run([sys.executable, "-c", PROBE, *args], capture_output=True, text=True, cwd=REPO)
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
