"""Apptainer (and Singularity): hands the environment on by itself and becomes the process."""

from __future__ import annotations

from launcher.base.words import Word
from launcher.config.schema import Container
from launcher.containers.base import ContainerCommand


def apptainer(container: Container) -> ContainerCommand:
    binds: list[Word] = [w for m in container.mounts for w in ("--bind", m)]
    # --nv: the node's NVIDIA driver and devices
    return ContainerCommand(prefix=("apptainer", "exec", "--nv", *binds, *container.options, container.image or ""))
