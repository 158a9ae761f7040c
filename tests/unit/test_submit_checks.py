"""`submit` runs the checks that ask nobody; plan, render and --dry-run say that there are errors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from .helpers import BASE, Cli

WRONG = BASE.replace("tp-size: 8", "tp-size: 8, page-sise: 16")


@pytest.fixture
def sbatch(programs: Path) -> Path:
    for name, text in (("sbatch", 'touch "$HOME/asked"; echo 7'), ("srun", "exit 1")):
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    return programs


def test_errors_are_refused_before_anything_is_submitted(sbatch: Path, cli: Cli) -> None:
    Path("c.yaml").write_text(WRONG)
    refused = cli("submit", "c.yaml")
    assert refused.code == 2
    assert refused.out == ""
    assert "c.yaml:3:30: prefill.args.page-sise" in refused.err
    assert "--no-check" in refused.err
    assert not (Path.home() / "asked").exists()
    assert not Path("runs").exists()


def test_no_check_insists(sbatch: Path, cli: Cli) -> None:
    Path("c.yaml").write_text(WRONG)
    done = cli("submit", "c.yaml", "--no-check")
    assert done.code == 0
    assert done.out.startswith("t: job 7, ")


def test_submit_names_the_next_command(sbatch: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("c.yaml").write_text(BASE)
    assert "wait 7" not in cli("submit", "c.yaml").err  # a script reads it
    monkeypatch.setattr("launcher.commands.submit.sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True)))
    assert "sgl-launch wait 7 --for ready" in cli("submit", "c.yaml").err
    assert "wait 7" not in cli("submit", "c.yaml", "--parsable").err


@pytest.mark.parametrize("words", [["plan"], ["render"], ["submit", "--dry-run"]])
def test_others_say_it_in_a_line(words: list[str], cli: Cli) -> None:
    Path("c.yaml").write_text(WRONG)
    shown = cli(*words, "c.yaml")
    assert shown.code == 0
    assert "the config has 2 errors: `sgl-launch check c.yaml` shows them" in shown.err
    Path("c.yaml").write_text(BASE)
    assert cli(*words, "c.yaml").err == ""
