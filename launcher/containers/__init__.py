"""Containers: how a process of the job is started inside an image. One module a runtime
(launcher.base.plugins)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from launcher.base.errors import Problem
from launcher.base.plugins import RUNTIMES
from launcher.config import Config, Source
from launcher.config.placeholders import placeholder
from launcher.config.schema import Container
from launcher.containers.base import ContainerCommand, Runtime

__all__ = ["ContainerCommand", "Runtime", "container_command", "container_problems", "host_path"]


def container_problems(config: Config, source: Source, cluster: str = "slurm") -> list[Problem]:
    """A runtime without an image, an image of which nothing says how it is started, pyxis without Slurm, or kernels
    that would be gone with the container that unpacked them."""
    container = config.container
    if container.runtime != "none" and not container.image:
        return [source.problem(f"{container.runtime} needs an image", "container", "image")]
    unsaid = ("container", "image") in source.places and ("container", "runtime") not in source.places
    if container.image and unsaid and not placeholder(container.image):
        *most, last = [n for n in RUNTIMES.ours if n != "none"]
        message = f"say how it is started: container.runtime is {', '.join(most)} or {last}"
        return [source.problem(message, "container", "image")]
    if container.runtime == "pyxis" and cluster == "local":
        message = "pyxis is part of Slurm; on this machine use apptainer, docker or none"
        return [source.problem(message, "container", "runtime")]
    return _kernel_folder_problems(config, source)


def _kernel_folder_problems(config: Config, source: Source) -> list[Problem]:
    """Each step has a container of its own, with a /tmp of its own (Apptainer has the node's)."""
    kernels, found = config.warmup.kernels, []
    if kernels.cache_dir is None or config.container.runtime not in ("pyxis", "docker"):
        return []
    for key, path in (("cache_dir", kernels.cache_dir), ("local_dir", kernels.local_dir)):
        # local_dir is a name's beginning: the folder above it must be mounted
        top = str(Path(path).parent) if key == "local_dir" else path
        if host_path(config, top) is None:
            message = (
                f"{path} would be inside one container and gone with it; mount a folder of the nodes: "
                f"add {top}:{top} to container.mounts"
            )
            found.append(source.problem(message, "warmup", "kernels", key))
    return found


def host_path(config: Config, path: str) -> Path | None:
    """Where a path of the workers is on the machine: as it is, or under a mount's source. None for
    one that is inside the container's image alone."""
    if config.container.runtime == "none":
        return Path(path)
    for mount in config.container.mounts:
        source, _, target = mount.partition(":")
        target = target.partition(":")[0] or source
        if path == target or path.startswith(target.rstrip("/") + "/"):
            return Path(source + path[len(target.rstrip("/")) :])
    return None


def container_command(container: Container) -> ContainerCommand:
    """The words that start the container. Its run folder is mounted at the same path."""
    return cast(Runtime, RUNTIMES.load(container.runtime))(container)
