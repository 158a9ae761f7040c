"""The frontend's flags and its way of routing: Dynamo's frontend, and SGLang's router."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.base.suggest import nearest
from launcher.catalog.catalog import Catalog
from launcher.catalog.flags import Flag
from launcher.catalog.given import dashed
from launcher.check.dynamo_flags import VERSION
from launcher.check.facts import Facts
from launcher.check.findings import Finding

# Read from `python -m dynamo.frontend --help` of Dynamo 1.4.2, and from sglang_router.launch_router of 0.3.2.
ROUTER_MODES = "round-robin random power-of-two kv direct least-loaded device-aware-weighted".split()
POLICIES = "random round_robin cache_aware power_of_two manual".split()
_TEXTS = """namespace namespace-prefix http-host tls-cert-path tls-key-path model-name model-path metrics-prefix
    dump-config-to router-tracking-key-file router-tracking-key-id router-policy-config aic-backend aic-system
    aic-backend-version aic-model-path aic-nextn-accept-rates"""
_WHOLE = """kv-cache-block-size http-port router-min-initial-workers migration-limit migration-max-seq-len
    grpc-metrics-port router-event-threads active-prefill-tokens-threshold aic-tp-size aic-moe-tp-size aic-moe-ep-size
    aic-attention-dp-size aic-nextn aic-mtp-seed dyn-preprocess-workers"""
_NUMBERS = """router-session-affinity-ttl-secs active-decode-blocks-threshold active-prefill-tokens-threshold-frac
    router-kv-overlap-score-credit router-kv-overlap-score-credit-decay router-prefill-load-scale
    router-decode-active-request-weight router-host-cache-hit-weight router-disk-cache-hit-weight router-temperature
    router-ttl-secs router-queue-threshold shared-cache-multiplier router-predicted-ttl-secs"""
_CHOICES = {
    "router-mode": " ".join(ROUTER_MODES),
    "router-tracking-hash": "public-xxh3-v1 keyed-xxh3-v1",
    "router-prefill-load-model": "none aic",
    "router-queue-policy": "fcfs wspt",
    "shared-cache-type": "none hicache",
    "discovery-backend": "kubernetes etcd file mem",
    "request-plane": "nats tcp",
    "event-plane": "nats zmq",
    "dyn-chat-processor": "dynamo vllm sglang",
    "tokenizer": "default fastokens",
}
_SWITCHES = """interactive serve-indexer enforce-disagg load-aware router-kv-events kv-events router-replica-sync
    router-track-active-blocks track-active-blocks router-track-output-blocks track-output-blocks
    router-assume-kv-reuse assume-kv-reuse router-track-prefill-tokens use-remote-indexer kserve-grpc-server
    enable-anthropic-api strip-anthropic-preamble enable-streaming-tool-dispatch enable-streaming-reasoning-dispatch
    exclude-tools-when-tool-choice-none dyn-debug-perf trust-remote-code"""


def _catalog() -> Catalog:
    flags = [Flag((n,), kind) for kind, names in (("str", _TEXTS), ("int", _WHOLE), ("float", _NUMBERS))
             for n in names.split()]  # fmt: skip
    flags += [Flag((n,), "str", choices=tuple(choices.split())) for n, choices in _CHOICES.items()]
    flags += [Flag((n, f"no-{n}"), "onoff") for n in _SWITCHES.split()]
    flags.append(Flag(("frontend-route-extension",), "str", nargs="*"))
    return Catalog(VERSION, flags)


def router_mode(x: Facts) -> Iterator[Finding]:
    """Dynamo's frontend and SGLang's router refuse a mode that they do not know, when the job has its nodes."""
    mode = x.config.frontend.router_mode
    sglang = x.config.engine == "sglang"
    known = POLICIES if sglang else ROUTER_MODES
    if mode is None or x.config.engine not in ("dynamo", "mocker", "sglang"):
        return
    if (mode.replace("-", "_") if sglang else mode) not in known:
        who = "SGLang's router" if sglang else f"the frontend of Dynamo {VERSION}"
        message = f"{who} does not take {mode!r}{nearest(mode, known) or '.'} It takes {', '.join(known)}"
        yield Finding("error", x.source.problem(message, "frontend", "router_mode"))


def frontend_flags(x: Facts) -> Iterator[Finding]:
    """Values that Dynamo's frontend refuses, and names that it does not know: another Dynamo may."""
    if x.config.engine not in ("dynamo", "mocker"):
        return
    catalog = _catalog()
    for problem in catalog.check(x.config.frontend.args):
        if problem.kind == "unknown":
            hint = nearest(dashed(problem.flag), catalog.by_name)
            text = f"the frontend of Dynamo {VERSION} has no such flag, and would not start{hint}"
            yield Finding("warning", x.source.problem(text, "frontend", "args", problem.flag))
        else:
            level = "error" if problem.is_error else "warning"
            yield Finding(level, x.source.problem(problem.text, "frontend", "args", problem.flag))  # type: ignore[arg-type]


CHECKS = (router_mode, frontend_flags)
