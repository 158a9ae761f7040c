"""Which layers of a model call DeepGEMM, and how they are split over ranks: one table of layers for each family.

Read in SGLang's models/deepseek_v2.py (DeepSeek V3, R1, V3.2, Kimi-K2, GLM-5), models/qwen3_5.py and
models/qwen2_moe.py (Qwen3.5 MoE), 0.5.16 and 0.5.23; `benchmarks/deepgemm.py layers` compares them
with SGLang's own layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .flags import Layout, PlanError

Dense = Iterator[tuple[str, int, int, bool]]  # layer, N, K, met under two-batch overlap


@dataclass(frozen=True)
class Family:
    """dense: every dense FP8 weight on one rank. experts: config.json's key of the number of routed experts. needed:
    keys without which nothing follows. names: by layer, a weight's name in the checkpoint, where it is another."""

    dense: Callable[[Mapping[str, Any], Layout, Mapping[str, Any]], Dense]
    experts: str
    needed: tuple[str, ...]
    names: Mapping[str, str]


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a model with vision its language part, with the whole's architecture and quantization."""
    inner = config.get("text_config")
    if not isinstance(inner, Mapping):
        return dict(config)
    return {**inner, **{k: config[k] for k in ("architectures", "quantization_config") if k in config}}


def family_of(config: Mapping[str, Any]) -> Family | None:
    """By the architectures that config.json names."""
    return next((FAMILIES[name] for name in config.get("architectures") or () if name in FAMILIES), None)


def _mla(config: Mapping[str, Any], plan: Layout, rules: Mapping[str, Any]) -> Dense:
    """DeepSeek's latent attention and experts; with V3.2's sparse attention an indexer on every rank."""
    hidden = config["hidden_size"]
    heads = split(plan, config["num_attention_heads"], plan.attention_tp, "num_attention_heads")
    rope, nope = config["qk_rope_head_dim"], config["qk_nope_head_dim"]
    value, latent = config["v_head_dim"], config["kv_lora_rank"]
    lora = config.get("q_lora_rank")
    if lora:
        yield "attn.fused_qkv_a_proj", lora + latent + rope, hidden, True
        yield "attn.q_b_proj", heads * (nope + rope), lora, True
    else:
        yield "attn.q_proj", heads * (nope + rope), hidden, True
        yield "attn.kv_a_proj", latent + rope, hidden, True
    if plan.role != "decode":
        # Decode absorbs kv_b_proj into batched BF16 products; only prefill multiplies by it.
        yield "attn.kv_b_proj", heads * (nope + value), latent, True
    if config.get("index_topk") is not None:
        yield "indexer.wq_b", config["index_n_heads"] * config["index_head_dim"], config["q_lora_rank"], True
        if not config.get("indexer_rope_interleave"):  # else it is fused with the weights' projection, in BF16
            yield "indexer.wk", config["index_head_dim"], hidden, True
    yield "attn.o_proj", hidden, heads * value, True
    if config.get("first_k_dense_replace", 0) > 0:
        inner = split(plan, config["intermediate_size"], plan.dense_tp, "intermediate_size")
        yield "mlp.gate_up_proj", 2 * inner, hidden, False
        yield "mlp.down_proj", hidden, inner, False
    if shared_experts(config) and not is_fused(config, plan, rules):
        width = config["moe_intermediate_size"] * shared_experts(config)
        inner = split(plan, width, plan.shared_tp, "moe_intermediate_size")
        yield "shared.gate_up_proj", 2 * inner, hidden, True
        yield "shared.down_proj", hidden, inner, True


def _qwen35(config: Mapping[str, Any], plan: Layout, rules: Mapping[str, Any]) -> Dense:
    """Qwen3.5 MoE: gated delta nets, every fourth layer gated attention, a shared expert beside the routed ones."""
    hidden, tp = config["hidden_size"], plan.attention_tp
    key_heads = split(plan, config["linear_num_key_heads"], tp, "linear_num_key_heads")
    value_heads = split(plan, config["linear_num_value_heads"], tp, "linear_num_value_heads")
    keys, values = key_heads * config["linear_key_head_dim"], value_heads * config["linear_value_head_dim"]
    # in_proj_ba is too narrow for blocks of 128: BF16 in every checkpoint
    yield "linear_attn.in_proj_qkvz", 2 * keys + 2 * values, hidden, True
    yield "linear_attn.out_proj", hidden, values, True
    heads = split(plan, config["num_attention_heads"], tp, "num_attention_heads")
    pairs = max(config["num_key_value_heads"] // tp, 1)
    gates = 2 if config.get("attn_output_gate", True) else 1
    yield "attn.qkv_proj", (heads * gates + 2 * pairs) * config["head_dim"], hidden, True
    yield "attn.o_proj", hidden, heads * config["head_dim"], True
    if width := config.get("shared_expert_intermediate_size"):
        inner = split(plan, width, plan.shared_tp, "shared_expert_intermediate_size")
        yield "shared.gate_up_proj", 2 * inner, hidden, True
        yield "shared.down_proj", hidden, inner, True


def shared_experts(config: Mapping[str, Any]) -> int:
    return int(config.get("n_shared_experts") or 0)


def is_fused(config: Mapping[str, Any], plan: Layout, rules: Mapping[str, Any]) -> bool:
    """Whether the shared expert is folded into the routed experts for this model and layout."""
    if plan.fuse_shared == "never":
        return False
    if plan.fuse_shared == "per-rank":
        return True
    return (
        bool(set(rules["fused_shared_experts_architectures"]) & set(config.get("architectures", ())))
        and config.get("n_routed_experts") in rules["fused_shared_experts_counts"]
        and shared_experts(config) == 1
    )


def split(plan: Layout, size: int, ranks: int, name: str) -> int:
    if size % ranks:
        raise PlanError(f"{plan.role}: {name} {size} cannot be split over {ranks} ranks")
    return int(size) // ranks


_MLA = Family(
    _mla,
    "n_routed_experts",
    (
        "hidden_size", "intermediate_size", "moe_intermediate_size", "num_attention_heads", "kv_lora_rank",
        "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
    ),
    {"shared.gate_up_proj": "shared_experts.gate_proj", "shared.down_proj": "shared_experts.down_proj"},
)  # fmt: skip
_QWEN35 = Family(
    _qwen35,
    "num_experts",
    (
        "hidden_size", "moe_intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
        "linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim",
    ),
    {
        "linear_attn.in_proj_qkvz": "linear_attn.in_proj_qkv",
        "attn.qkv_proj": "self_attn.q_proj", "attn.o_proj": "self_attn.o_proj",
        "shared.gate_up_proj": "shared_expert.gate_proj", "shared.down_proj": "shared_expert.down_proj",
    },
)  # fmt: skip
FAMILIES = {
    "DeepseekV2ForCausalLM": _MLA,
    "DeepseekV3ForCausalLM": _MLA,
    "DeepseekV32ForCausalLM": _MLA,
    "GlmMoeDsaForCausalLM": _MLA,
    "KimiK25ForConditionalGeneration": _MLA,
    "Qwen3_5MoeForConditionalGeneration": _QWEN35,
    "Qwen3_5MoeForCausalLM": _QWEN35,
}
