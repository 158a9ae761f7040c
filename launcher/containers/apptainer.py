"""Apptainer (and Singularity): hands the environment on by itself and becomes the process."""

from __future__ import annotations

from launcher.base.words import Word
from launcher.config.schema import Container
from launcher.containers.base import RUN_MOUNT, ContainerCommand


def apptainer(container: Container) -> ContainerCommand:
    mounted: list[Word] = [*container.mounts, RUN_MOUNT]
    binds: list[Word] = [w for m in mounted for w in ("--bind", m)]
    # --nv: the node's NVIDIA driver and devices
    return ContainerCommand(prefix=("apptainer", "exec", "--nv", *binds, *container.options, container.image or ""))
