"""What a container runtime answers: how one process of the job is started inside an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from launcher.base.words import Ref, Word
from launcher.config.schema import Container

# the job's secrets are there, and a worker may want to write there
RUN_MOUNT = Ref("${RUN}:${RUN}")


@dataclass(frozen=True)
class ContainerCommand:
    """Options for srun where Slurm itself starts the container, else words before the command.

    `prefix` ends with the image, unless `env_flag` is set: then the script puts that flag and the
    name of each exported variable after it (the values stay out of the argv), and `image` last.
    `cleanup` removes a container named ${CONTAINER} that outlived its process, `sweep` all
    containers of the job on a node.
    """

    srun_options: tuple[Word, ...] = ()
    prefix: tuple[Word, ...] = ()
    env_flag: str = ""
    image: tuple[Word, ...] = ()
    cleanup: tuple[Word, ...] = ()
    sweep: str = ""


Runtime = Callable[[Container], ContainerCommand]
"""Its `mounts` are words: the config's own and the launcher's, some of which refer to variables."""


def none(container: Container) -> ContainerCommand:
    """No container: the process starts as it is."""
    return ContainerCommand()
