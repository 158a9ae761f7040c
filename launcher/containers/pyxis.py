"""pyxis and enroot: srun starts the container (https://github.com/NVIDIA/pyxis)."""

from __future__ import annotations

from launcher.base.words import Joined, Word
from launcher.config.schema import Container
from launcher.containers.base import RUN_MOUNT, ContainerCommand


def pyxis(container: Container) -> ContainerCommand:
    mounts = "".join(f"{m}," for m in container.mounts)
    options: list[Word] = [
        f"--container-image={container.image or ''}",
        Joined((f"--container-mounts={mounts}", RUN_MOUNT)),
        "--no-container-mount-home",
    ]
    return ContainerCommand(srun_options=(*options, *container.options))
