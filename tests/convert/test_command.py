"""`sgl-launch convert`: streams and exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from launcher.base.errors import InputError
from launcher.commands.convert import command
from launcher.config import load_config
from launcher.plan.make import make_plan

from .samples import RECIPE, VARIANTS


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_config_on_stdout_and_the_rest_on_stderr(recipe: Path) -> None:
    result = CliRunner().invoke(command, [str(recipe)])
    assert result.exit_code == 0
    assert result.stdout.startswith("# Converted by")
    assert f"to be set: {recipe}:18:3: model.path: " in result.stderr
    assert "not carried over: " in result.stderr
    assert result.stderr.splitlines()[-1].startswith("sgl-launch: converted; ")


def test_into_a_file(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.yaml"
    result = CliRunner().invoke(command, [str(recipe), "-o", str(out)])
    assert result.exit_code == 0
    assert result.stdout == ""
    config, source = load_config(str(out), sites=[])
    assert make_plan(config, source).nodes == 5


def test_the_file_itself_is_left_alone(recipe: Path) -> None:
    with pytest.raises(InputError, match="FILE itself"):
        command.main([str(recipe), "-o", str(recipe)], standalone_mode=False)
    assert recipe.read_text(encoding="utf-8") == RECIPE


def test_a_folder_that_is_not_there(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be written"):
        command.main([str(recipe), "-o", str(tmp_path / "no" / "x")], standalone_mode=False)


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", None])
def test_a_file_that_can_not_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.yaml"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"not UTF-8|no such file"):
        command.main([str(path)], standalone_mode=False)


def test_variants(tmp_path: Path) -> None:
    path = tmp_path / "v.yaml"
    path.write_text(VARIANTS, encoding="utf-8")
    with pytest.raises(InputError, match="--variant"):
        command.main([str(path)], standalone_mode=False)
    result = CliRunner().invoke(command, [str(path), "--variant", "two"])
    assert result.exit_code == 0


def test_a_config_that_needs_work_is_written_and_said(tmp_path: Path) -> None:
    path = tmp_path / "decode.yaml"
    path.write_text("SGLangDecodeWorker: {model-path: m, tp: 1}\n", encoding="utf-8")
    result = CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 1
    assert "decode:" in result.stdout
    assert "prefill" in result.stderr


def test_the_names_of_another_version(recipe: Path) -> None:
    result = CliRunner().invoke(command, [str(recipe), "--sglang", "0.5.8"])
    assert "    cuda-graph-bs: [1, 2, 4]\n" in result.stdout
    assert "flags are those" not in result.stderr
    with pytest.raises(InputError, match="not a version"):
        command.main([str(recipe), "--sglang", "new"], standalone_mode=False)
