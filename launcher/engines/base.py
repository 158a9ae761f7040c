"""What every engine answers: the commands of workers, services and frontend."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from launcher.base.errors import Problem
from launcher.base.portnames import Offset
from launcher.base.words import Joined, Ref, Word, names
from launcher.config import Config, Source
from launcher.config.schema import Role
from launcher.front.owned import OWNED_FRONTEND_ENV, OWNED_FRONTEND_FLAGS, OWNED_SERVER_FLAGS


@dataclass(frozen=True)
class File:
    """A file that each rank writes before its command starts."""

    path: Ref
    lines: tuple[Word, ...]


@dataclass(frozen=True)
class Command:
    """A process: its words, and the environment that it has beyond the job's.

    `first` are the words of rank 0 of the deployment's first worker, where they differ. `part` is a pattern (grep -E)
    of the command lines of child processes without which it is of no use, though it lives on; it must not match itself.
    """

    argv: tuple[Word, ...]
    env: Mapping[str, Word] = field(default_factory=dict)
    file: File | None = None
    first: tuple[Word, ...] = ()
    part: str = ""

    @property
    def names(self) -> set[str]:
        """The script's variables that it refers to."""
        return {name for word in (*self.argv, *self.env.values()) for name in names(word)}


@dataclass(frozen=True)
class Worker:
    """A worker group as the frontend's command may name it; its address is known in the job.

    `gpus` is how many it has on each of its nodes.
    """

    name: str
    role: str
    gpus: int = 0

    @property
    def prefix(self) -> str:
        """Of its variables in the script: PREFILL_0 of prefill-0."""
        return self.name.replace("-", "_").upper()

    @property
    def url(self) -> Ref:
        """Of rank 0's own HTTP server."""
        return Ref(f"http://${{{self.prefix}_ADDR}}:${{{self.prefix}_HTTP_PORT}}")

    def port(self, name: str) -> Ref:
        """One of launcher.base.portnames.GROUP."""
        return Ref(f"${{{self.prefix}_{name.upper()}_PORT}}")


@dataclass(frozen=True)
class Context:
    """What an engine may ask about while it makes a command."""

    config: Config
    ports: Mapping[str, Offset]
    workers: tuple[Worker, ...] = ()


class Engine(Protocol):
    """One way of serving. Runs in the plan: pure, no processes, no files."""

    health: str | None
    """Path at a worker's HTTP port that answers 200 once it can serve; None when workers register
    in etcd instead; empty when only an answer through the frontend tells."""

    routes: tuple[str, ...]
    """Paths of the frontend that clients may use (launcher.front.routes); an engine without it has OPENAI's."""

    def problems(self, config: Config, source: Source) -> list[Problem]:
        """Mistakes that only this engine can see."""

    def worker(self, context: Context, role_name: str, role: Role) -> Command:
        """The command of every rank of a role's workers.

        It may refer to GROUP, RANK, NNODES, HEAD_ADDR, NODE_ADDR, SERVICES_ADDR and to a port of
        launcher.plan.ports as <NAME>_PORT.
        """

    def services(self, context: Context) -> dict[str, Command]:
        """NATS and etcd, by name; may refer to SCRATCH, NODE_ADDR and the services' ports."""

    def frontend(self, context: Context) -> Command:
        """What answers requests at FRONTEND_PORT of 127.0.0.1, where the front (launcher.front) hands them on; may
        refer to its workers by `Worker.url`.

        No words: the first worker's rank 0 answers them itself.
        """


# The launcher gives these out itself: setting one is an error that names the better place.
OWNED_FLAGS = {
    "dist-init-addr": "sgl-launch sets it to the address of the worker's rank 0",
    "nccl-init-addr": "sgl-launch sets it, as dist-init-addr",
    "nnodes": "follows from tp-size x pp-size and slurm.gpus_per_node",
    "node-rank": "sgl-launch assigns it on each node",
    "host": "sgl-launch gives each node's address on network.interface",
    "nccl-port": "sgl-launch takes it from the job's ports",
    "port": "sgl-launch sets it; clients use frontend.port",
    "disaggregation-mode": "follows from the role (prefill, decode or aggregated)",
    "disaggregation-bootstrap-port": "set ports.bootstrap instead",
    "model-path": "set model.path instead",
    "model": "set model.path instead",
    "served-model-name": "set model.served_name instead",
    "base-gpu-id": "sgl-launch sets it: each worker sees its own GPUs only",
}


def owned_problems(config: Config, source: Source) -> list[Problem]:
    """One problem for each flag that the launcher gives out itself."""
    given = [(name, role.args, {**OWNED_FLAGS, **OWNED_SERVER_FLAGS}) for name, role in config.roles.items()]
    given.append(("frontend", config.frontend.args, OWNED_FRONTEND_FLAGS))
    found = [
        source.problem(f"can't be set here: {owned[name]}", section, "args", _written(source, section, name))
        for section, args, owned in given
        for name in args
        if name in owned
    ]
    given_env = (((), config.env), (("frontend",), config.frontend.env))
    found += [
        source.problem(f"can't be set here: {OWNED_FRONTEND_ENV[name]}", *section, "env", name)
        for section, env in given_env
        for name in env
        if name in OWNED_FRONTEND_ENV
    ]
    return found


def _written(source: Source, section: str, flag: str) -> str:
    """The flag as the file spells it, so that its line is found."""
    for spelling in (flag, flag.replace("-", "_"), "--" + flag):
        if (section, "args", spelling) in source.places:
            return spelling
    return flag


def flag_words(flags: Mapping[str, Any]) -> tuple[Word, ...]:
    """Flags as words: true is a switch, false and null leave out, a list gives several values."""
    words: list[Word] = []
    for name, value in flags.items():
        if value is False or value is None:
            continue
        words.append("--" + name)
        if isinstance(value, dict):
            words.append(json.dumps(value, sort_keys=True))
        elif value is not True:
            values = value if isinstance(value, list) else [value]
            words += [v if isinstance(v, (Ref, Joined)) else str(v) for v in values]
    return tuple(words)


def python(config: Config, *words: Word) -> tuple[Word, ...]:
    """The Python that has the engine, where the process runs, with its first words."""
    return (config.python or "python3", *words)
