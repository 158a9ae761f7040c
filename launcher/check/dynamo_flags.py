"""Flags that Dynamo's SGLang worker (python -m dynamo.sglang) takes beside SGLang's own.

Read from its two argument groups, DynamoRuntimeArgGroup and DynamoSGLangArgGroup, of Dynamo 1.4.2;
`use-sglang-tokenizer` to `dyn-endpoint-types` go back to the first 1.x releases.
"""

from __future__ import annotations

from launcher.catalog.catalog import Catalog
from launcher.catalog.flags import Flag

VERSION = "1.4.2"

_TOOL_PARSERS = """deepseek_v3 deepseek_v3_1 deepseek_v3_2 deepseek-v4 deepseek_v4 deepseekv4 default gemma-4 gemma4
    glm47 harmony hermes inkling jamba kimi-k3 kimi_k2 kimi_k3 llama3_json minimax-m3 minimax-m3-nom minimax_m2
    minimax_m3 minimax_m3_nom mistral nemotron_deci nemotron_nano phi4 pythonic qwen25 qwen3_coder"""
_REASONING_PARSERS = """basic deepseek-v4 deepseek_r1 deepseek_v3 deepseek_v3_1 deepseek_v3_2 deepseek_v4 deepseekv4
    gemma-4 gemma4 glm45 gpt_oss granite inkling kimi kimi-k3 kimi_k25 kimi_k3 minimax-m3 minimax_append_think
    minimax_m2 minimax_m3 mistral nemotron3 nemotron_deci nemotron_nano nemotron_v3 qwen3 step3"""

# name -> type, and the choices where there are any
_VALUES: dict[str, tuple[str, str]] = {
    "namespace": ("str", ""),
    "endpoint": ("str", ""),
    "kv-state-endpoint": ("str", ""),
    "discovery-backend": ("str", "kubernetes etcd file mem"),
    "request-plane": ("str", "tcp nats"),
    "event-plane": ("str", "nats zmq"),
    "dyn-tool-call-parser": ("str", _TOOL_PARSERS),
    "dyn-reasoning-parser": ("str", _REASONING_PARSERS),
    "dyn-default-thinking-mode": ("str", "enabled disabled"),
    "dyn-structural-tag-scope": ("str", "auto always"),
    "dyn-structural-tag-schema": ("str", "auto strict"),
    "custom-jinja-template": ("str", ""),
    "dump-config-to": ("str", ""),
    "multimodal-embedding-cache-capacity-gb": ("float", ""),
    "media-output-fs-url": ("str", ""),
    "media-output-http-url": ("str", ""),
    "health-check-payload": ("str", ""),
    "engine-request-limit": ("int", ""),
    "embedding-transfer-mode": ("str", "local nixl-write nixl-read"),
    "disagg-config": ("str", ""),
    "disagg-config-key": ("str", ""),
    "sglang-trace-level": ("int", "1 2 3 4"),
}
_SWITCHES = """fpm-trace exclude-tools-when-tool-choice-none dyn-enable-structural-tag
    multimodal-embedding-cache-publisher use-sglang-tokenizer enable-multimodal dedicated-mm-encoder
    embedding-worker image-diffusion-worker video-generation-worker enable-rl frontend-decoding"""


def dynamo_catalog() -> Catalog:
    """Dynamo's own flags, as a catalogue like SGLang's."""
    flags = [Flag((n,), kind, choices=tuple(choices.split())) for n, (kind, choices) in _VALUES.items()]
    flags += [Flag((name, f"no-{name}"), "onoff") for name in _SWITCHES.split()]
    flags += [Flag((name,), "str", nargs="*") for name in ("connector", "output-modalities")]
    flags.append(Flag(("endpoint-types", "dyn-endpoint-types"), "str"))
    catalog = Catalog(VERSION, flags)
    catalog.title = f"Dynamo {VERSION}"
    return catalog
