"""Every unit test runs in an empty folder, with no site file and no Slurm but a stand-in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launcher.cli import main

from .helpers import Cli, Result


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test. Site files are looked for in `home` beside it."""
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    site = home / "empty-site.yaml"
    site.write_text("# nothing\n")
    monkeypatch.setenv("SGL_LAUNCH_SITE", str(site))
    for name in ("XDG_CONFIG_HOME", "SGL_LAUNCH_RUNS", "SGL_LAUNCH"):
        monkeypatch.delenv(name, raising=False)
    return work


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH, for stand-ins."""
    made = tmp_path / "bin"
    made.mkdir()
    monkeypatch.setenv("PATH", f"{made}:/usr/bin:/bin")
    return made


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs sgl-launch in this process. An exception that main() lets through fails the test."""

    def run(*args: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["sgl-launch", *args])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return run
