"""Dynamo's mocker in place of SGLang: no GPU, every other process real.

`--set engine=mocker` rehearses any config: SGLang's flags still decide the layout, those with a
counterpart in the mocker are translated, the rest are left out.
"""

from __future__ import annotations

from launcher.base.errors import Problem
from launcher.base.words import Ref
from launcher.config import Config, Source
from launcher.config.schema import Role
from launcher.engines.base import Command, Context, flag_words
from launcher.engines.dynamo import DynamoEngine, worker_env

# SGLang's flag -> the mocker's (python -m dynamo.mocker --help, Dynamo 1.4.2)
TRANSLATED = {
    "page-size": "sglang-page-size",
    "chunked-prefill-size": "sglang-chunked-prefill-size",
    "max-prefill-tokens": "sglang-max-prefill-tokens",
    "max-running-requests": "max-num-seqs",
}


class MockerEngine(DynamoEngine):
    """Implements launcher.engines.base.Engine."""

    def problems(self, config: Config, source: Source) -> list[Problem]:
        found = super().problems(config, source)
        if config.container.runtime != "none":
            message = "the mocker runs without a container; add --set container.runtime=none"
            found.append(source.problem(message, "container", "runtime"))
        return found

    def worker(self, context: Context, role_name: str, role: Role) -> Command:
        config = context.config
        rank = {
            "group": Ref("${GROUP}"),
            "rank": Ref("${RANK}"),
            "nnodes": Ref("${NNODES}"),
            "dist-init-addr": Ref("${HEAD_ADDR}:${DIST_INIT_PORT}"),
        }
        flags = {
            "model-path": config.model.path,
            "model-name": config.served_name,
            "engine-type": "sglang",
            "disaggregation-mode": "agg" if role_name == "aggregated" else role_name,
            "bootstrap-ports": Ref("${BOOTSTRAP_PORT}") if role_name == "prefill" else None,
            **{TRANSLATED[k]: v for k, v in role.args.items() if k in TRANSLATED},
            "no-enable-prefix-caching": role.args.get("disable-radix-cache") is True,
            **config.mocker,
        }
        program = (Ref("${LAUNCH_PYTHON}"), "-m", "launcher.job.mocker_rank")
        env = {
            **worker_env(config),
            # its bootstrap address; else what the host's own name resolves to, often 127.0.1.1
            "DYN_HTTP_RPC_HOST": Ref("${NODE_ADDR}"),
            # without it the mocker's /health stays 503
            "DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS": '["generate"]',
            **role.env,
        }
        return Command((*program, *flag_words(rank), "--", *flag_words(flags)), env)

    def frontend(self, context: Context) -> Command:
        command = super().frontend(context)
        return Command((Ref("${LAUNCH_PYTHON}"), *command.argv[1:]), command.env)
