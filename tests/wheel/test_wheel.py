"""The wheel, installed into an empty environment: it brings its templates and configs along."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Standard output; a command that fails fails the test with what it said."""
    # nothing of the checkout or of the caller's Python may leak in
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "SGL_LAUNCH"))}
    env["SGL_LAUNCH_SITE"] = os.devnull
    done = subprocess.run([str(word) for word in command], cwd=folder, env=env, capture_output=True)
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, f"{command}: {said}"
    return done.stdout.decode()


@dataclass(frozen=True)
class Installed:
    """sgl-launch in an environment of its own, and an empty folder to run it in."""

    program: Path
    python: Path
    folder: Path

    def __call__(self, *args: str) -> str:
        return run([self.program, *args], self.folder)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    top = tmp_path_factory.mktemp("wheel")
    # without isolation where the build backend is here already: that needs no network
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    run([sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", top / "dist", REPO], top)
    (wheel,) = (top / "dist").glob("sgl_launch-*.whl")
    run([sys.executable, "-m", "venv", top / "venv"], top)
    bin_ = top / "venv" / "bin"
    # what it needs comes in the versions that are here, so that a release made elsewhere changes nothing
    constraints = top / "constraints.txt"
    here = (f"{d.name}=={d.version}\n" for d in importlib.metadata.distributions() if d.name != "sgl-launch")
    constraints.write_text("".join(here))
    pip = [bin_ / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--constraint", constraints, wheel], top)
    empty = top / "empty"
    empty.mkdir()
    return Installed(bin_ / "sgl-launch", bin_ / "python", empty)


def here(*args: str) -> str:
    """What the checkout's own sgl-launch prints."""
    return run([sys.executable, "-m", "launcher.cli", *args], REPO)


def test_it_is_the_wheel_that_runs(installed: Installed) -> None:
    where = run([installed.python, "-c", "import launcher; print(launcher.__file__)"], installed.folder)
    assert Path(where.strip()).is_relative_to(installed.python.parent.parent)


def test_help(installed: Installed) -> None:
    assert installed("--help") == here("--help")


@pytest.mark.parametrize("name", sorted(p.name for p in (REPO / "configs").glob("dsr1*.yaml")))
def test_shipped_configs_render_the_same_bytes(name: str, installed: Installed) -> None:
    assert installed("render", f"configs/{name}") == here("render", f"configs/{name}")


def test_a_config_beside_its_model_folder(installed: Installed) -> None:
    found = installed("render", "local.yaml", "--cluster", "local")
    expected = here("render", "configs/local.yaml", "--cluster", "local")
    shipped = installed.python.parent.parent.glob("lib/python*/site-packages/launcher/shipped/configs/tiny-model")
    (model,) = shipped
    assert (model / "tokenizer.json").is_file()
    expected = expected.replace(str(REPO / "configs" / "tiny-model"), str(model))
    # a longer path may break lines elsewhere
    one, other = ([w for w in text.split() if w != "\\"] for text in (found, expected))
    assert one == other


def test_nothing_is_left_in_the_folder(installed: Installed) -> None:
    installed("plan", "configs/dsr1.yaml")
    assert list(installed.folder.iterdir()) == []
