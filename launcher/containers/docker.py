"""Docker, with the flags of Dynamo's 2025 example for SGLang with wide expert parallelism.

A container is a child of Docker's daemon and not of the step: it has a name and a label, so that
what outlives its step can be removed.
"""

from __future__ import annotations

from launcher.base.words import Ref, Word
from launcher.config.schema import Container
from launcher.containers.base import ContainerCommand


def docker(container: Container) -> ContainerCommand:
    words: list[Word] = [
        # --init: signals reach the process though it is not prepared to be the first of its container
        *("docker", "run", "--rm", "--init", "--name", Ref("${CONTAINER}"), "--label", Ref("sgl-launch=${JOB_ID}")),
        # what it writes in the run folder belongs to the job's user, who can read the job's keys
        *("--user", Ref("${UID}"), "--gpus", "all", "--network", "host", "--ipc", "host", "--shm-size", "10G"),
        *("--ulimit", "memlock=-1", "--ulimit", "stack=67108864", "--ulimit", "nofile=65536:65536"),
        *("--cap-add", "CAP_SYS_PTRACE", "--env", "HOME=/tmp"),
    ]
    words += [w for m in container.mounts for w in ("--volume", m)]
    return ContainerCommand(
        prefix=(*words, *container.options),
        env_flag="--env",
        image=(container.image or "",),
        cleanup=("docker", "rm", "--force", Ref("${CONTAINER}")),
        sweep='docker ps --all --quiet --filter "label=sgl-launch=$JOB_ID" | xargs --no-run-if-empty docker rm --force',
    )
