"""SGLang under NVIDIA Dynamo: `python -m dynamo.sglang` workers behind `dynamo.frontend`."""

from __future__ import annotations

from launcher.config import Config, Source
from launcher.config.schema import Role
from launcher.engines import services
from launcher.engines.base import Command, Context, flag_words, owned_problems
from launcher.errors import Problem
from launcher.words import Ref, Word


class DynamoEngine:
    """Implements launcher.engines.base.Engine."""

    def problems(self, config: Config, source: Source) -> list[Problem]:
        return owned_problems(config, source)

    def worker(self, context: Context, role_name: str, role: Role) -> Command:
        config = context.config
        words: list[Word] = [
            *python(config),
            "-m",
            "dynamo.sglang",
            "--model-path",
            config.model.path,
            "--served-model-name",
            config.served_name,
            "--dist-init-addr",
            Ref("${HEAD_ADDR}:${DIST_INIT_PORT}"),
            "--nnodes",
            Ref("${NNODES}"),
            "--node-rank",
            Ref("${RANK}"),
            # SGLang binds its bootstrap server to --host, which is 127.0.0.1 unless it is given
            "--host",
            Ref("${NODE_ADDR}"),
            "--port",
            Ref("${HTTP_PORT}"),
            # chosen at random otherwise, and then it may hit another worker's
            "--nccl-port",
            Ref("${NCCL_PORT}"),
        ]
        if role_name != "aggregated":
            words += ["--disaggregation-mode", role_name]
            if "disaggregation-transfer-backend" not in role.args:
                words += ["--disaggregation-transfer-backend", "nixl"]
        if role_name == "prefill":
            words += ["--disaggregation-bootstrap-port", Ref("${BOOTSTRAP_PORT}")]
        return Command((*words, *flag_words(role.args)), {**worker_env(config), **role.env})

    def services(self, context: Context) -> dict[str, Command]:
        return {"nats": services.nats(context.config), "etcd": services.etcd(context.config)}

    def frontend(self, context: Context) -> Command:
        config = context.config
        words: list[Word] = [
            *python(config),
            "-m",
            "dynamo.frontend",
            "--http-port",
            Ref("${FRONTEND_PORT}"),
        ]
        if "migration-limit" not in config.frontend.args:
            # a request whose worker dies goes on at another one
            words += ["--migration-limit", "3"]
        if config.frontend.router_mode:
            words += ["--router-mode", config.frontend.router_mode]
        env = {**rpc_env(config), **config.frontend.env}
        return Command((*words, *flag_words(config.frontend.args)), env)


def python(config: Config) -> tuple[Word, ...]:
    return (config.python or "python3",)


def rpc_env(config: Config) -> dict[str, Word]:
    """Which address Dynamo's processes bind and advertise, and over what they speak."""
    return {
        **services.client_env(config),
        "DYN_TCP_RPC_HOST": Ref("${NODE_ADDR}"),
        # with events over NATS no worker opens ports of its own for them
        "DYN_EVENT_PLANE": "nats",
    }


def worker_env(config: Config) -> dict[str, Word]:
    """A worker's environment: besides rpc_env, its health port (off until it is set)."""
    return {
        **rpc_env(config),
        "DYN_TCP_RPC_PORT": Ref("${RPC_PORT}"),
        "DYN_SYSTEM_HOST": Ref("${NODE_ADDR}"),
        "DYN_SYSTEM_PORT": Ref("${SYSTEM_PORT}"),
        "SGLANG_HOST_IP": Ref("${NODE_ADDR}"),
        "HOST_IP": Ref("${NODE_ADDR}"),
    }
