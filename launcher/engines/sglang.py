"""SGLang by itself: `sglang.launch_server` workers behind SGLang's own router, no NATS, no etcd.

The router is the pip package sglang-router, or its successor smg; both take what is written here (0.3.2 and 1.13.0).
It is given every worker's address at its start; its /health is 200 with no worker at all, so readiness asks the workers
themselves.
"""

from __future__ import annotations

from launcher.base.errors import Problem
from launcher.base.words import Ref, Word
from launcher.catalog.pairs import of_image
from launcher.catalog.releases import order
from launcher.config import Config, Source
from launcher.config.schema import Role
from launcher.engines.base import Command, Context, flag_words, owned_problems, python
from launcher.front.routes import ROUTER

# Titles of SGLang's own processes (setproctitle): schedulers, the data-parallel controller above them, detokenizers
PART = "[s]glang::"
# A module that is given the key in the file that is named first: the router takes it from its command line alone.
_WITH_KEY = (
    'import runpy,sys; key,name=sys.argv[1:3]; sys.argv[1:3]=["--api-key",open(key).read()]; '
    'runpy.run_module(name,run_name="__main__",alter_sys=True)'
)


class SglangEngine:
    """Implements launcher.engines.base.Engine."""

    health: str | None = "/health"
    routes = ROUTER

    def problems(self, config: Config, source: Source) -> list[Problem]:
        found = owned_problems(config, source)
        if config.services.where != "head":
            found.append(source.problem("SGLang's router needs neither NATS nor etcd", "services", "where"))
        if config.spare_nodes:
            message = "SGLang's router is told its workers' addresses when it starts, so no spare node can replace one"
            found.append(source.problem(f"{message}; leave it out, or use engine: dynamo", "spare_nodes"))
        if config.security.request_plane == "tls":
            message = "tls cannot be had here: it has no Dynamo, whose request plane this is"
            found.append(source.problem(message, "security", "request_plane"))
        return found

    def worker(self, context: Context, role_name: str, role: Role) -> Command:
        # SGLang reads flags from a file, and so its key, from 0.5.3 on
        version = context.config.sglang_version or of_image(context.config.container.image or "").sglang or "1"
        key = {"config": Ref("${RUN}/secrets/worker.yaml")} if order(version) >= (0, 5, 3) else {}
        flags = flag_words({**server_flags(context.config, role_name, role), **key, **role.args})
        words = python(context.config, "-m", "sglang.launch_server", *flags)
        return Command(words, {**server_env(), **role.env}, part=PART)

    def services(self, context: Context) -> dict[str, Command]:
        return {}

    def frontend(self, context: Context) -> Command:
        config = context.config
        package = config.frontend.router.replace("-", "_")
        key = Ref("${RUN}/secrets/worker-key")
        words: list[Word] = [*python(config, "-c", _WITH_KEY, key, f"{package}.launch_router")]
        prefill = [w for w in context.workers if w.role == "prefill"]
        decode = [w for w in context.workers if w.role == "decode"]
        if prefill:
            words.append("--pd-disaggregation")
            for worker in prefill:
                words += ["--prefill", worker.url, worker.port("bootstrap")]
            for worker in decode:
                words += ["--decode", worker.url]
        else:
            words += ["--worker-urls", *(w.url for w in context.workers)]
        flags = {
            "host": "127.0.0.1",
            "port": Ref("${FRONTEND_PORT}"),
            # its metrics stand on a port of their own, 29000 unless it is given
            "prometheus-host": "127.0.0.1",
            "prometheus-port": Ref("${METRICS_PORT}"),
            # the router spells Dynamo's round-robin round_robin, and so on
            "policy": (config.frontend.router_mode or "").replace("-", "_") or None,
            # it looks for a worker every 30 s and gives up after 1800 s unless it is told otherwise
            "worker-startup-check-interval": 1,
            "worker-startup-timeout-secs": int(config.timeouts.ready),
        }
        return Command((*words, *flag_words({**flags, **config.frontend.args})), config.frontend.env)


def server_flags(config: Config, role_name: str, role: Role) -> dict[str, Word]:
    """What every SGLang server is told by the launcher, under Dynamo too."""
    flags: dict[str, Word] = {
        "model-path": config.model.path,
        "served-model-name": config.served_name,
        "dist-init-addr": Ref("${HEAD_ADDR}:${DIST_INIT_PORT}"),
        "nnodes": Ref("${NNODES}"),
        "node-rank": Ref("${RANK}"),
        # SGLang binds its bootstrap server to --host, which is 127.0.0.1 unless it is given
        "host": Ref("${NODE_ADDR}"),
        "port": Ref("${HTTP_PORT}"),
        # chosen at random otherwise, and then it may hit another worker's
        "nccl-port": Ref("${NCCL_PORT}"),
    }
    if role_name != "aggregated":
        flags["disaggregation-mode"] = role_name
        if "disaggregation-transfer-backend" not in role.args:
            flags["disaggregation-transfer-backend"] = "nixl"
    if role_name == "prefill":
        flags["disaggregation-bootstrap-port"] = Ref("${BOOTSTRAP_PORT}")
    return flags


def server_env() -> dict[str, Word]:
    """The address that SGLang advertises to the other side, and no minutes of post-mortem before it ends: with its
    defaults 0.5.16 slept, ran py-spy and waited for CUDA core dumps for 66 s after a scheduler had died."""
    return {
        "SGLANG_HOST_IP": Ref("${NODE_ADDR}"),
        "HOST_IP": Ref("${NODE_ADDR}"),
        "SGLANG_CUDA_COREDUMP_BEFORE_CRASH": "0",
        "SGLANG_PYSPY_DUMP_BEFORE_CRASH": "0",
    }
