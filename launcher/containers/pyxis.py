"""pyxis and enroot: srun starts the container (https://github.com/NVIDIA/pyxis)."""

from __future__ import annotations

from typing import Any

from launcher.base.words import Joined, Word
from launcher.config.schema import Container
from launcher.containers.base import ContainerCommand


def pyxis(container: Container) -> ContainerCommand:
    mounted: list[Any] = [part for mount in container.mounts for part in (",", mount)][1:]
    options: list[Word] = [
        f"--container-image={container.image or ''}",
        Joined(("--container-mounts=", *mounted)),
        "--no-container-mount-home",
    ]
    return ContainerCommand(srun_options=(*options, *container.options))
