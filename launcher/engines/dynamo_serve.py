"""SGLang under the Dynamo of 2025: `dynamo serve GRAPH -f FILE` on every node.

Read from ai-dynamo 0.3.2 (dynamo/sdk/cli) and from its example examples/sglang/dsr1-wideep.md: the
first worker's rank 0 serves the whole graph, frontend and worker; the other ranks and workers serve
one service of it each. What a worker is told stands in FILE, one for each rank, since nodes differ in
node-rank and in the address of their group's head.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from launcher.base.errors import Problem
from launcher.base.words import Joined, Ref, Word
from launcher.config import Config, Source
from launcher.config.schema import DynamoServe, Role
from launcher.engines import services
from launcher.engines.base import Command, Context, File, owned_problems
from launcher.engines.sglang import server_env, server_flags
from launcher.front.planes import nats_tls
from launcher.front.routes import DYNAMO

SERVICE = {"prefill": "SGLangWorker", "aggregated": "SGLangWorker", "decode": "SGLangDecodeWorker"}
PART = "[d]ynamo.sdk.cli.serve_dynamo"  # each service's process (cli/serving.py); it is not restarted
FILE = Ref("${RUN}/steps/${GROUP}-${RANK}.yaml")


class DynamoServeEngine:
    """Implements launcher.engines.base.Engine."""

    # 0.3.2 opens a health port only with --service-name, so not on the head: a request must tell
    health: str | None = ""
    routes = DYNAMO

    def problems(self, config: Config, source: Source) -> list[Problem]:
        found = [*owned_problems(config, source), *services.service_problems(config, source)]
        if nats_tls(config) or config.security.request_plane == "tls":
            # 0.3.2 knows NATS_AUTH_* and ETCD_AUTH_* alone, and its requests go over NATS
            key = "nats_tls" if config.security.nats_tls else "request_plane"
            at = ("services", "nats") if config.services.where == "external" else ("security", key)
            found.append(source.problem("the Dynamo of `dynamo serve` knows no TLS but etcd's", *at))
        if config.frontend.replicas > 1:
            message = "there is one frontend with dynamo serve, in the first worker's own process"
            found.append(source.problem(message, "frontend", "replicas"))
        if config.frontend.router_mode:
            message = "dynamo serve takes it from its graph; put what the graph's Frontend knows in frontend.args"
            found.append(source.problem(message, "frontend", "router_mode"))
        for name, role in config.roles.items():
            for flag, value in role.args.items():
                if isinstance(value, list) and len(value) > 1:
                    message = "a service file of dynamo serve gives a flag one value"
                    found.append(source.problem(message, name, "args", flag))
        return found

    def worker(self, context: Context, role_name: str, role: Role) -> Command:
        config = context.config
        own = config.dynamo_serve or DynamoServe()
        graph = own.decode_graph if role_name == "decode" else own.graph
        whole: list[Word] = [*_dynamo(config), "serve", graph, "-f", FILE]
        if own.folder:
            whole += ["--working-dir", own.folder]
        lines = list(_service(context, role_name, role))
        if role_name != "decode":
            lines = [*_frontend(config), *lines]
        env = {
            **services.client_env(config),
            # the launcher has chosen the GPUs; dynamo serve would give every worker those from 0 on
            "DYN_DISABLE_AUTO_GPU_ALLOCATION": "1",
            **server_env(),
            **role.env,
        }
        return Command(
            (*whole, "--service-name", SERVICE[role_name]),
            env,
            file=File(FILE, tuple(lines)),
            first=tuple(whole) if role_name != "decode" else (),
            part=PART,
        )

    def services(self, context: Context) -> dict[str, Command]:
        return services.own_services(context.config)

    def frontend(self, context: Context) -> Command:
        return Command(())  # the first worker's rank 0 answers clients


def _dynamo(config: Config) -> tuple[Word, ...]:
    return (config.python, "-m", "dynamo.sdk.cli.cli") if config.python else ("dynamo",)


def _frontend(config: Config) -> Iterator[Word]:
    """The section of the example's Frontend (components/frontend.py); its keys have underscores."""
    given = {key.replace("-", "_"): value for key, value in config.frontend.args.items()}
    named = {"served_model_name": config.served_name, "endpoint": "dynamo.SGLangWorker.generate"}
    yield "Frontend:"
    yield from _lines({**named, "port": Ref("${FRONTEND_PORT}"), **given})
    if config.frontend.env:
        yield "  ServiceArgs:"
        yield "    envs:"
        yield from _lines(config.frontend.env, "      ")


def _service(context: Context, role_name: str, role: Role) -> Iterator[Word]:
    """The section of a worker: SGLang's flags, then what dynamo serve itself is told."""
    gpus = next(w.gpus for w in context.workers if w.role == role_name)
    yield f"{SERVICE[role_name]}:"
    yield from _lines({**server_flags(context.config, role_name, role), **role.args})
    yield "  ServiceArgs:"
    yield "    workers: 1"
    yield "    resources:"
    yield f"      gpu: {gpus}"
    if role.env:
        yield "    envs:"
        yield from _lines(role.env, "      ")


def _lines(values: Mapping[str, Any], indent: str = "  ") -> Iterator[Word]:
    """YAML, a line a key; false and null leave out, as with flags."""
    for name, value in values.items():
        if isinstance(value, list):
            (value,) = value or [None]
        if value is False or value is None:
            continue
        start = f"{indent}{name}: "
        if isinstance(value, Ref):
            yield Joined((start, value))  # an address or a number: plain text in YAML too
        elif value is True:
            yield f"{start}true"
        elif isinstance(value, (int, float)):
            yield f"{start}{value}"  # as it was written
        else:
            yield start + json.dumps(value, ensure_ascii=False, sort_keys=True)
