"""SGLang under NVIDIA Dynamo: `python -m dynamo.sglang` workers behind `dynamo.frontend`."""

from __future__ import annotations

from launcher.base.errors import Problem
from launcher.base.words import Ref, Word
from launcher.catalog.events import with_events
from launcher.config import Config, Source
from launcher.config.schema import Role
from launcher.engines import services
from launcher.engines.base import Command, Context, flag_words, owned_problems, python
from launcher.engines.sglang import PART, server_env, server_flags
from launcher.front.routes import DYNAMO


class DynamoEngine:
    """Implements launcher.engines.base.Engine."""

    health: str | None = None
    routes = DYNAMO

    def problems(self, config: Config, source: Source) -> list[Problem]:
        return [*owned_problems(config, source), *services.service_problems(config, source)]

    def worker(self, context: Context, role_name: str, role: Role) -> Command:
        config = context.config
        flags = flag_words({**server_flags(config, role_name, role), **with_events(config, role_name, role.args)})
        return Command(python(config, "-m", "dynamo.sglang", *flags), {**worker_env(config), **role.env}, part=PART)

    def services(self, context: Context) -> dict[str, Command]:
        return services.own_services(context.config)

    def frontend(self, context: Context) -> Command:
        config = context.config
        front = config.frontend
        flags = {
            "http-port": Ref("${FRONTEND_PORT}"),
            "migration-limit": 3,  # a request whose worker dies goes on at another one
            "router-mode": front.router_mode or None,
            # each router learns what the others have sent where
            "router-replica-sync": front.router_mode == "kv" and front.replicas > 1,
            **front.args,
        }
        # its own limit is 5 s; a drain that the job allows must not be cut short by it
        drain = {"DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": str(int(config.timeouts.drain))}
        words = python(config, "-m", "dynamo.frontend", *flag_words(flags))
        # /busy_threshold, by which anyone on the frontend's node could make it refuse all
        shut = {"DYN_DISABLE_FRONTEND_ADMIN_API": "1"}
        # variables: a frontend that is too old for them starts all the same
        return Command(words, {**rpc_env(config), **drain, **shut, **front.env, "DYN_HTTP_HOST": "127.0.0.1"})


def rpc_env(config: Config) -> dict[str, Word]:
    """Which address Dynamo's processes bind and advertise, and over what they speak."""
    return {
        **services.client_env(config),
        "DYN_TCP_RPC_HOST": Ref("${NODE_ADDR}"),
        # with events over NATS no worker opens ports of its own for them
        "DYN_EVENT_PLANE": "nats",
        "DYN_NAMESPACE": Ref("sgl-launch-${JOB_ID}"),
    }


def worker_env(config: Config) -> dict[str, Word]:
    """A worker's environment: besides rpc_env, its health port (off until it is set)."""
    return {
        **rpc_env(config),
        "DYN_TCP_RPC_PORT": Ref("${RPC_PORT}"),
        "DYN_SYSTEM_HOST": Ref("${NODE_ADDR}"),
        "DYN_SYSTEM_PORT": Ref("${SYSTEM_PORT}"),
        **server_env(),
    }
