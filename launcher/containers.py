"""How a command runs in a container: options for srun, and words before the command."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.config import Config, Source
from launcher.config.schema import Container
from launcher.errors import Problem
from launcher.words import Joined, Ref, Word

# the job's secrets are there, and a worker may want to write there
RUN_MOUNT = Ref("${RUN}:${RUN}")


@dataclass(frozen=True)
class ContainerCommand:
    """`srun` takes srun_options; `prefix` stands before the command itself."""

    srun_options: tuple[Word, ...] = ()
    prefix: tuple[Word, ...] = ()


def container_problems(config: Config, source: Source) -> list[Problem]:
    """A runtime without an image, or an image without a runtime."""
    container = config.container
    if container.runtime != "none" and not container.image:
        return [source.problem(f"{container.runtime} needs an image", "container", "image")]
    if container.runtime == "none" and container.image:
        message = "say how it is started: container.runtime is pyxis or apptainer"
        return [source.problem(message, "container", "image")]
    return []


def container_command(container: Container) -> ContainerCommand:
    """The words that start the container. Its run folder is mounted at the same path."""
    image = container.image or ""
    if container.runtime == "pyxis":
        mounts = "".join(f"{m}," for m in container.mounts)
        options: list[Word] = [
            f"--container-image={image}",
            Joined((f"--container-mounts={mounts}", RUN_MOUNT)),
            "--no-container-mount-home",
        ]
        return ContainerCommand(srun_options=(*options, *container.options))
    if container.runtime == "apptainer":
        mounted: list[Word] = [*container.mounts, RUN_MOUNT]
        binds: list[Word] = [w for m in mounted for w in ("--bind", m)]
        return ContainerCommand(prefix=("apptainer", "exec", "--nv", *binds, *container.options, image))
    return ContainerCommand()
