"""Models beyond DeepSeek V3 and R1: shapes as SGLang 0.5.23's layers have them (`benchmarks/deepgemm.py layers`)."""

from __future__ import annotations

from typing import Any

import pytest
from sglang_layers import GLM5, QWEN35

from warmup.kernels import Manifest, PlanError, known_config, plan_role
from warmup.kernels.timeline import Timeline

V3 = known_config("DeepSeek-V3") or {}
EP = {"tp-size": 8, "ep-size": 8, "moe-runner-backend": "deep_gemm"}


def layers(manifest: Manifest) -> dict[str, tuple[int, int, int]]:
    return {shape.layer: (shape.n, shape.k, shape.groups) for shape in manifest.shapes}


def plan(config: dict[str, Any], flags: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    return layers(plan_role(config, "aggregated", flags, sglang="0.5.23"))


def test_v32_has_an_indexer_on_every_rank_and_its_shared_expert_apart() -> None:
    config = known_config("deepseek-ai/DeepSeek-V3.2-Exp")
    assert config is not None
    found = plan(config, {"tp-size": 8})
    assert found["indexer.wq_b"] == (8192, 1536, 1)
    assert found["indexer.wk"] == (128, 7168, 1)
    assert found["shared.gate_up_proj"] == (512, 7168, 1)
    assert "shared.gate_up_proj" not in plan(V3, {"tp-size": 8})


def test_glm5_has_its_indexers_key_in_bf16_and_its_shared_expert_within() -> None:
    found = plan({**V3, **GLM5}, {"tp-size": 8})
    assert found["indexer.wq_b"] == (32 * 128, 2048, 1)
    assert not {"indexer.wk", "shared.gate_up_proj"} & set(found)
    assert found["attn.o_proj"] == (6144, 8 * 256, 1)


def test_kimi_k2_is_known_by_name() -> None:
    config = known_config("moonshotai/Kimi-K2-Instruct-0905")
    assert config is not None
    found = plan(config, {"tp-size": 16, "moe-a2a-backend": "deepep"})
    assert found["experts.gate_up"] == (4096, 7168, 24)
    assert found["attn.q_b_proj"] == (4 * 192, 1536, 1)


def test_qwen35_has_two_kinds_of_attention_and_what_its_checkpoint_leaves_in_bf16() -> None:
    found = plan({**V3, **QWEN35}, EP)
    assert found == {
        "linear_attn.in_proj_qkvz": (2 * 256 + 2 * 1024, 4096, 1),
        "linear_attn.out_proj": (4096, 1024, 1),
        "attn.qkv_proj": ((4 * 2 + 2) * 256, 4096, 1),
        "attn.o_proj": (4096, 4 * 256, 1),
        "shared.gate_up_proj": (256, 4096, 1),
        "experts.gate_up": (2048, 4096, 64),
        "experts.down": (4096, 1024, 64),
        "shared.down_proj": (4096, 128, 1),
    }
    kept = {**QWEN35["quantization_config"], "modules_to_not_convert": ["model.layers.3.self_attn.o_proj"]}
    assert "attn.o_proj" not in plan({**V3, **QWEN35, "quantization_config": kept}, EP)


def test_the_language_part_of_a_model_with_vision() -> None:
    inner = {k: v for k, v in {**V3, **QWEN35}.items() if k not in ("architectures", "quantization_config")}
    whole = {
        "architectures": ["Qwen3_5MoeForConditionalGeneration"],
        "quantization_config": QWEN35["quantization_config"],
        "text_config": inner,
    }
    assert plan(whole, EP) == plan({**V3, **QWEN35}, EP)


@pytest.mark.parametrize("change, match", [
    ({"architectures": ["DeepseekV4ForCausalLM"]}, "DeepseekV4ForCausalLM is not computed here"),
    ({"architectures": ["KimiK25ForConditionalGeneration"],
      "quantization_config": {"quant_method": "compressed-tensors"}}, "quantization compressed-tensors"),
])  # fmt: skip
def test_what_does_not_run_on_deepgemm_is_named(change: dict[str, Any], match: str) -> None:
    with pytest.raises(PlanError, match=match):
        plan({**V3, **change}, {"tp-size": 8})


def test_a_builds_timeline_says_what_bounds_it() -> None:
    spans = (("kernel.a", 2.0, 4.0), ("kernel.b", 2.0, 7.0), ("kernel.c", 4.0, 5.0))
    line = Timeline(first_met_s=2.0, last_met_s=4.0, total_s=7.5, jobs=2, spans=spans)
    assert line.bounds == {
        "the last kernel met, and its compiler": 5.0,
        "imports, and the slowest compiler": 7.0,
        "imports, and all compilers on all cores": 6.0,
    }
    rows = line.text().splitlines()
    assert max(map(len, rows)) <= 110
    assert "compilers used 80% of 2 cores" in rows[-1]
