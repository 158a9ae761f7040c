"""Containers: options for srun, or words before the command."""

from __future__ import annotations

from launcher.base.words import Word, shown
from launcher.containers import ContainerCommand, container_command

from .helpers import BASE, load


def command(container: str) -> ContainerCommand:
    config, _ = load(f"{BASE}container: {container}\n")
    return container_command(config.container)


def test_none() -> None:
    assert command("{}") == ContainerCommand()


def words(found: tuple[Word, ...]) -> list[str]:
    return [shown(w, {"RUN": "/runs/x"}) for w in found]


def test_pyxis() -> None:
    found = command("{runtime: pyxis, image: /i.sqsh, mounts: [/a:/b, /c:/d:ro], options: [--container-remap-root]}")
    assert words(found.srun_options) == [
        "--container-image=/i.sqsh",
        "--container-mounts=/a:/b,/c:/d:ro,/runs/x:/runs/x",
        "--no-container-mount-home",
        "--container-remap-root",
    ]
    assert found.prefix == ()
    assert "--container-mounts=/runs/x:/runs/x" in words(command("{runtime: pyxis, image: i}").srun_options)


def test_apptainer() -> None:
    found = command("{runtime: apptainer, image: i.sif, mounts: [/a:/b], options: [--cleanenv]}")
    assert words(found.prefix) == [
        *("apptainer", "exec", "--nv", "--bind", "/a:/b", "--bind", "/runs/x:/runs/x"),
        *("--cleanenv", "i.sif"),
    ]
    assert found.srun_options == ()
