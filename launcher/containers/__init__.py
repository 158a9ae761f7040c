"""Containers: how a process of the job is started inside an image. One module a runtime
(launcher.base.plugins)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from launcher.base.errors import Problem
from launcher.base.plugins import RUNTIMES
from launcher.base.words import Ref, Word
from launcher.config import Config, Source
from launcher.config.placeholders import placeholder
from launcher.config.schema import Container
from launcher.containers.base import RUN_MOUNT, ContainerCommand, Runtime

__all__ = ["ContainerCommand", "Runtime", "container_command", "container_problems", "host_path", "job_container"]


def container_problems(config: Config, source: Source, cluster: str = "slurm") -> list[Problem]:
    """A runtime without an image, an image of which nothing says how it is started, or pyxis without Slurm."""
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
    return []


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


def container_command(container: Container, *mounts: Word) -> ContainerCommand:
    """The words that start the container. Its run folder is mounted at the same path, and `mounts` too."""
    everything = [*container.mounts, RUN_MOUNT, *mounts]
    return cast(Runtime, RUNTIMES.load(container.runtime))(container.model_copy(update={"mounts": everything}))


def job_container(config: Config) -> ContainerCommand:
    """The container of a job's processes, with the folders of its caches and archives."""
    mounts = (Ref("${CACHES}:${CACHES}"), Ref("${ARCHIVES}:${ARCHIVES}")) if config.keeps_caches else ()
    return container_command(config.container, *mounts)
