"""Checks of keys against each other. Each is a pure function from the facts to findings."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.catalog.idle import idle_flags
from launcher.check.facts import Check, Facts
from launcher.check.findings import Finding, Level


def equal_tp(x: Facts) -> Iterator[Finding]:
    """What must be equal is a KV cache's share: tp-size over the groups of DP attention."""
    if not x.pair or x.model.one_kv:
        return
    sizes = {r: x.number(r, "tp-size") for r in ("prefill", "decode")}
    prefill, decode = (tp // x.flags[r].attention_groups for r, tp in sizes.items())
    if prefill == decode or not prefill or not decode:
        return
    why = (
        f"{x.model.source} says that the model does not use MLA"
        if x.model.mla is False
        else "nothing shows that the model uses MLA"
    )
    groups = any(x.flags[r].attention_groups > 1 for r in sizes)
    what = "an attention tp (tp-size / attention dp size) of" if groups else "tp-size"
    message = (
        f"prefill has {what} {prefill}, decode has {decode}, and {why}. SGLang moves KV caches between unequal sizes "
        "for MLA models (DeepSeek), and for others only in newer versions; make them equal, or test it first"
    )
    yield x.at("warning", message, "decode", "tp-size")


def prediction(x: Facts) -> Iterator[Finding]:
    """Speculation by the model's own layers needs a model that has them, or a draft model."""
    for role in x.config.roles:
        algorithm = str(x.value(role, "speculative-algorithm", "")).upper()
        draft = x.value(role, "speculative-draft-model-path")
        if x.model.mtp == 0 and algorithm in ("EAGLE", "NEXTN") and draft is None:
            message = f"{x.model.source} says that the model has no layers for it; give speculative-draft-model-path"
            yield x.at("warning", message, role, "speculative-algorithm")


SAME = {
    "page-size": "KV caches move page by page",
    "kv-cache-dtype": "KV caches move as they are",
    "disaggregation-transfer-backend": "both ends must speak the same protocol",
}


def same_on_both(x: Facts) -> Iterator[Finding]:
    """Flags that decide what a KV cache looks like, or how it travels."""
    if not x.pair:
        return
    for name, why in SAME.items():
        prefill, decode = x.value("prefill", name), x.value("decode", name)
        if prefill == decode or (prefill is None and decode is None):
            continue
        if prefill is not None and decode is not None:
            message = f"is {decode} here and {prefill} for prefill, but {why}; make them equal"
            yield x.at("error", message, "decode", name)
            continue
        have, lack = ("prefill", "decode") if decode is None else ("decode", "prefill")
        if name == "disaggregation-transfer-backend" and x.value(have, name) == "nixl":
            continue  # what the launcher gives the other
        level: Level = "error" if name == "disaggregation-transfer-backend" else "warning"
        given = "nixl, the launcher's default" if level == "error" else "SGLang's default, which may differ"
        yield x.at(level, f"is set for {have} alone: {lack} has {given}, but {why}; set it for both", have, name)
    for name in ("quantization", "dtype"):
        prefill, decode = x.value("prefill", name), x.value("decode", name)
        if prefill is not None and decode is not None and prefill != decode:
            message = f"is {decode} here and {prefill} for prefill: the two would not compute the same model"
            yield x.at("warning", message, "decode", name)


def expert_parallelism(x: Facts) -> Iterator[Finding]:
    for role in x.config.roles:
        tp = x.number(role, "tp-size")
        given = x.value(role, "ep-size")
        ep = x.number(role, "ep-size")
        if given is not None and tp % ep:
            message = f"ep-size ({ep}) must divide tp-size ({tp}): experts are spread over GPUs of the tp group"
            yield x.at("error", message, role, "ep-size")
        elif given is not None and x.deepep(role) and ep != tp:
            message = f"DeepEP spreads experts over all tp-size GPUs: SGLang will use {tp}, not {ep}; leave it out"
            yield x.at("warning", message, role, "ep-size")
        exchange = x.deepep(role) or x.value(role, "moe-a2a-backend") not in (None, "none")
        if x.on(role, "enable-two-batch-overlap") and not exchange:
            message = "two batches overlap during the experts' exchange alone; add moe-a2a-backend: deepep"
            yield x.at("error", message, role, "enable-two-batch-overlap")


def redundant_experts(x: Facts) -> Iterator[Finding]:
    experts = x.model.experts
    if not experts:
        return
    for role in x.config.roles:
        ep = x.experts_over(role)
        extra = x.whole(role, "ep-num-redundant-experts", 0)
        if ep < 2 or extra is None or extra < 0:
            continue
        if (experts + extra) % ep:
            least = extra + -(experts + extra) % ep
            advice = f"{least} would do ({experts + least} / {ep} = {(experts + least) // ep})"
            message = (
                f"{experts} experts ({x.model.source}) and {extra} redundant ones do not divide among "
                f"{ep} GPUs; ep-num-redundant-experts: {advice}"
            )
            name = "ep-num-redundant-experts" if extra else "tp-size" if x.deepep(role) else "ep-size"
            yield x.at("warning" if x.model.guessed else "error", message, role, name)


def deepep_mode(x: Facts) -> Iterator[Finding]:
    for role in x.config.roles:
        mode = x.value(role, "deepep-mode")
        if mode is None:
            continue
        if not x.deepep(role):
            message = "has no effect without moe-a2a-backend: deepep"
            yield x.at("warning", message, role, "deepep-mode")
        elif role == "prefill" and mode == "low_latency":
            message = (
                "low_latency takes at most some hundred tokens a GPU at once, fewer than a prefill batch has; "
                "write deepep-mode: normal"
            )
            yield x.at("error", message, role, "deepep-mode")
        elif role == "decode" and mode == "normal":
            message = "with normal, decode runs without CUDA graphs and is slow; write deepep-mode: low_latency"
            yield x.at("warning", message, role, "deepep-mode")
        elif role == "aggregated" and mode != "auto":
            message = f"an aggregated worker both prefills and decodes: {mode} serves one of them; write auto"
            yield x.at("warning", message, role, "deepep-mode")


DISPATCH = "SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK"


def dispatch_tokens(x: Facts) -> Iterator[Finding]:
    """DeepEP's low-latency buffers hold so many tokens of each rank: 128 unless the variable says more."""
    for role, its in x.config.roles.items():
        if not x.deepep(role) or x.value(role, "deepep-mode") == "normal" or role == "prefill":
            continue
        text = its.env.get(DISPATCH) or x.config.env.get(DISPATCH) or "128"
        limit = int(text) if text.isdecimal() else 128
        for name in ("cuda-graph-bs-decode", "cuda-graph-max-bs-decode"):
            value = x.value(role, name)
            sizes = value if isinstance(value, list) else [value]
            most = max((v for v in sizes if isinstance(v, int) and not isinstance(v, bool)), default=0)
            # no graph is larger than the requests of an attention group (0.5.16, base_cuda_graph_runner.py)
            running = x.whole(role, "max-running-requests")
            most = min(most, -(-running // x.flags[role].attention_groups)) if running else most
            if x.on(role, "enable-two-batch-overlap"):
                most = -(-most // 2)  # each half of the batch is dispatched by itself
            if most > limit:
                message = (
                    f"graphs of up to {most} tokens a GPU, but DeepEP's low-latency buffers hold {limit}; "
                    f"set {DISPATCH}: {most} in {role}.env"
                )
                yield x.at("warning", message, role, name)


def dp_attention(x: Facts) -> Iterator[Finding]:
    for role in x.config.roles:
        groups = x.flags[role].attention_groups
        if x.on(role, "enable-dp-attention") and groups == 1:
            message = "has no effect without a dp-size above 1"
            yield x.at("warning", message, role, "enable-dp-attention")
        if x.on(role, "enable-dp-lm-head") and not x.on(role, "enable-dp-attention") and groups == 1:
            message = "SGLang refuses it without DP attention; add enable-dp-attention: true and dp-size"
            yield x.at("error", message, role, "enable-dp-lm-head")
        dense = x.whole(role, "moe-dense-tp-size")
        if dense not in (None, 1):
            yield x.at("error", f"SGLang takes only 1 here, not {dense}", role, "moe-dense-tp-size")
        running = x.whole(role, "max-running-requests")
        if running and 0 < running < groups:
            message = f"{running} requests cannot be shared by {groups} DP attention groups; give {groups} or more"
            yield x.at("error", message, role, "max-running-requests")


def chunked_prefill(x: Facts) -> Iterator[Finding]:
    for role in x.config.roles:
        size = x.whole(role, "chunked-prefill-size")
        if role == "decode" or size is None or size < 1:
            continue
        groups, page = x.flags[role].attention_groups, x.number(role, "page-size")
        each = size // groups
        shared = f" / {groups} DP attention groups = {each}" if groups > 1 else ""
        if each % page or each < 1:
            message = f"{size}{shared} tokens must be a multiple of page-size ({page})"
            yield x.at("error", message, role, "chunked-prefill-size")
        elif groups > 1 and each < 1024:
            message = (
                f"is shared: {size}{shared} tokens a chunk, so long prompts take many steps; "
                f"give {groups} times what one GPU shall take, such as {groups * 8192}"
            )
            yield x.at("warning", message, role, "chunked-prefill-size")


def fractions(x: Facts) -> Iterator[Finding]:
    for role in x.config.roles:
        value = x.value(role, "mem-fraction-static")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 < value < 1:
            message = f"must be a fraction of the GPU's memory, between 0 and 1, not {value}"
            yield x.at("error", message, role, "mem-fraction-static")


def parsers(x: Facts) -> Iterator[Finding]:
    """Dynamo refuses both its own tool-call parser and SGLang's."""
    for role, flags in x.flags.items():
        if x.config.engine == "dynamo" and {"tool-call-parser", "dyn-tool-call-parser"} <= set(flags):
            message = "Dynamo takes this or dyn-tool-call-parser, not both; keep dyn-tool-call-parser"
            yield x.at("error", message, role, "tool-call-parser")


def event_ports(x: Facts) -> Iterator[Finding]:
    """Workers that share a node cannot publish their events at one port."""
    heads = [g.nodes[0] for g in x.plan.groups] if x.plan else []
    for role in x.config.roles:
        given = x.value(role, "kv-events-config")
        if isinstance(given, dict) and "endpoint" in given and len(set(heads)) < len(heads):
            message = (
                "workers share a node, and one endpoint: leave the endpoint out, and each worker gets its own port"
            )
            yield x.at("warning", message, role, "kv-events-config")


# SGLang 0.5.23, srt/configs/moe_model_registry.py
DEEPEP_V2 = (
    "DeepseekV3ForCausalLM", "DeepseekV4ForCausalLM", "Glm5NextForConditionalGeneration", "GlmMoeDsaForCausalLM",
    "MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM", "Qwen3MoeForCausalLM",
)  # fmt: skip


def deepep_v2(x: Facts) -> Iterator[Finding]:
    """SGLang refuses to start with deepep_v2 for an architecture that it has not listed."""
    for role in x.config.roles:
        architecture = x.model.architecture
        if x.value(role, "moe-a2a-backend") == "deepep_v2" and architecture not in (None, *DEEPEP_V2):
            message = f"SGLang 0.5.23 refuses deepep_v2 for {architecture}; write moe-a2a-backend: deepep"
            yield x.at("error" if x.catalog.version == "0.5.23" else "warning", message, role, "moe-a2a-backend")


def idle(x: Facts) -> Iterator[Finding]:
    """Flags that do nothing under the engine (launcher.catalog.idle)."""
    engine, front = x.config.engine, x.config.frontend
    for role, given in x.config.roles.items():
        for name, why in idle_flags(given.args, "roles", engine, front.router_mode):
            yield x.at("warning", why, role, name)
    for name, why in idle_flags(front.args, "frontend", engine, front.router_mode):
        yield Finding("warning", x.source.problem(why, "frontend", "args", name))


CHECKS: tuple[Check, ...] = (
    idle, deepep_v2, event_ports, equal_tp, prediction, same_on_both, expert_parallelism, redundant_experts,
    deepep_mode, dispatch_tokens, dp_attention, chunked_prefill, fractions, parsers,
)  # fmt: skip
