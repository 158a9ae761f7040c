"""What a container's image holds: asked once, known afterwards. The runtimes are stand-ins."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from launcher.base.errors import InputError
from launcher.check import check_config
from launcher.check.image import ask, known
from launcher.commands.check import command
from launcher.config.load import load_config

# Stands in for the runtimes: what follows the image is run here, by a Python in whose place versions are told.
RUNTIME = """\
#!{python}
import json, os, sys
words = sys.argv[1:]
with open("calls", "a") as calls:
    print(os.path.basename(sys.argv[0]), *[w.split()[0] if w else "-" for w in words], file=calls)
if words[:2] == ["image", "inspect"]:
    print(open("digest").read().strip())
elif os.path.exists("fails"):
    sys.exit("no space left on device")
else:
    print("a banner of the image")
    print("held " + open("held").read())
"""
HELD = {"sglang": "0.5.16", "dynamo": "1.4.2", "nixl": "1.3.0", "torch": "2.11.0"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("docker", "apptainer", "srun"):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(RUNTIME.format(python=sys.executable))
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("site.yaml").write_text("# nothing\n")
    monkeypatch.setenv("SGL_LAUNCH_SITE", str(tmp_path / "site.yaml"))
    Path("held").write_text(json.dumps(HELD))
    Path("digest").write_text("sha256:aaaa")


def write(runtime: str = "docker", image: str = "own/sglang:latest", text: str = "") -> str:
    container = f"container: {{runtime: {runtime}, image: '{image}'}}\n"
    roles = "aggregated: {args: {cuda-graph-max-bs-decode: 64}}\n"
    Path("c.yaml").write_text(f"name: t\nmodel: {{path: hf/a}}\n{container}{roles}{text}")
    return "c.yaml"


def said() -> list[str]:
    checked = check_config("c.yaml", ask_slurm=False, look=False)
    return [f"{f.problem.key}: {f.problem.message}" for f in checked.findings if "mounts" not in str(f)]


def test_an_image_is_asked_once() -> None:
    Path("held").write_text(json.dumps({**HELD, "sglang": "0.5.11", "dynamo": "1.2.1", "nixl": "1.0.1"}))
    write()
    done = CliRunner().invoke(command, ["c.yaml", "--image", "--no-slurm"])
    assert "holds SGLang 0.5.11, Dynamo 1.2.1, NIXL 1.0.1, torch 2.11.0; kept under sha256:aaaa" in done.output
    assert "(flags of SGLang 0.5.11)" in done.output
    assert "does not have this flag yet" in said()[0]  # without asking again
    calls = [line.split()[:2] for line in Path("calls").read_text().splitlines()]
    assert calls.count(["docker", "run"]) == 1


def test_an_image_that_has_changed_is_unknown() -> None:
    write()
    config, _ = load_config("c.yaml")
    assert ask(config).sglang == "0.5.16"
    assert str(known(config)).startswith("SGLang 0.5.16, Dynamo 1.4.2")
    Path("digest").write_text("sha256:bbbb")
    assert known(config) is None


def test_a_file_is_known_until_it_is_made_anew() -> None:
    Path("image.sif").write_text("x")
    write("apptainer", str(Path("image.sif").absolute()))
    config, _ = load_config("c.yaml")
    assert known(config) is None
    assert ask(config).digest.startswith("file:")
    assert known(config)
    Path("image.sif").write_text("other")
    assert known(config) is None


def test_pyxis_asks_on_a_node() -> None:
    write("pyxis", text="slurm: {partition: batch, account: acme, time: 60}\n")
    config, _ = load_config("c.yaml")
    assert ask(config).digest == "name:own/sglang:latest"
    words = Path("calls").read_text().split()
    assert words[0] == "srun"
    assert {"--partition=batch", "--account=acme", "--container-image=own/sglang:latest"} <= set(words)


def test_what_the_config_says_against_what_the_image_holds() -> None:
    write(text="sglang_version: 0.5.18\n")
    held = ask(load_config("c.yaml")[0])
    pair, version = said()
    assert version.startswith(f"sglang_version: is 0.5.18, but the image holds 0.5.16 (asked on {held.asked})")
    assert pair == "container.image: Dynamo 1.4.2 is made for SGLang 0.5.16, not 0.5.18; Dynamo 1.5 goes with that"
    Path("held").write_text(json.dumps({**HELD, "nixl": "1.5.1"}))
    write()
    ask(load_config("c.yaml")[0])
    assert said() == ["container.image: Dynamo 1.4.2 goes with NIXL 1.3.0; the image holds 1.5.1"]


def test_an_image_that_cannot_be_asked() -> None:
    write()
    Path("fails").touch()
    config, _ = load_config("c.yaml")
    with pytest.raises(InputError, match="own/sglang:latest can't be asked: no space left on device"):
        ask(config)
    Path("c.yaml").write_text("name: t\nmodel: {path: hf/a}\naggregated: {}\n")
    with pytest.raises(InputError, match="there is no image"):
        ask(load_config("c.yaml")[0])


def test_the_program_that_is_run_in_the_image() -> None:
    """It is given to a real Python here."""
    from launcher.base.programs import run_command
    from launcher.check.image import _ASK

    code, text = run_command([sys.executable, "-c", _ASK])
    told = json.loads(text.removeprefix("held "))
    assert code == 0
    assert set(told) == {"sglang", "dynamo", "nixl", "torch"}
    assert told["dynamo"].startswith("1.")
