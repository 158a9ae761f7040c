"""What bash completes, asked as its script asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SGL_LAUNCH = Path(sys.executable).with_name("sgl-launch")


def completed(line: str) -> list[str]:
    words = line.split(" ")
    env = {**os.environ, "_SGL_LAUNCH_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([SGL_LAUNCH], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return [item.partition(",")[2] for item in done.stdout.splitlines()]


@pytest.mark.parametrize("command", ["plan", "check", "render", "submit"])
def test_a_config_is_a_file_or_one_that_ships(command: str) -> None:
    Path("mine.yaml").touch()
    Path("mine.txt").touch()
    Path("folder").mkdir()
    assert completed(f"sgl-launch {command} mi") == ["mine.yaml"]
    assert completed(f"sgl-launch {command} dsr1-4") == ["dsr1-4gpu", "dsr1-4p9d"]
    assert completed(f"sgl-launch {command} fo") == ["folder/"]


def test_keys_of_set_and_names_for_init() -> None:
    assert completed("sgl-launch plan x --set fronte") == ["frontend."]
    assert completed("sgl-launch plan x --set frontend.po") == ["frontend.port="]
    assert completed("sgl-launch plan x --set warmup.requests.prompt") == ["warmup.requests.prompt_tokens="]
    assert completed("sgl-launch init dsr1-9") == ["dsr1-96gpu"]
