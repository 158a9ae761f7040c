"""The computed shapes against those that real servers logged and real layers have."""

from __future__ import annotations

import json

import pytest

from warmup.kernels import PlanError, known_config, load_config, plan_role, plan_roles

# Logged by SGLang for DeepSeek-V3 on one GPU with the shared expert apart.
TP1 = {
    (2112, 7168), (24576, 1536), (32768, 512), (7168, 16384),
    (36864, 7168), (7168, 18432), (4096, 7168), (7168, 2048),
}  # fmt: skip
WIDE = {"enable-dp-attention": True, "moe-dense-tp-size": 1, "ep-num-redundant-experts": 32}
PREFILL = {
    **WIDE, "tp-size": 16, "dp-size": 16, "moe-a2a-backend": "deepep", "deepep-mode": "normal",
    "chunked-prefill-size": 524288,
}  # fmt: skip
DECODE = {
    **WIDE, "tp-size": 32, "dp-size": 32, "moe-a2a-backend": "deepep",
    "deepep-mode": "low_latency",
}  # fmt: skip


@pytest.fixture
def config():
    return known_config("deepseek-ai/DeepSeek-R1")


def dense(manifest):
    return {(s.n, s.k) for s in manifest.shapes if s.kernel_type == "GEMM_NT_F8F8BF16"}


def grouped(manifest):
    return {(s.kernel_type[-6:], s.n, s.k, s.groups) for s in manifest.shapes if s.groups > 1}


def test_one_gpu_meets_the_eight_logged_shapes(config):
    plan = plan_role({**config, "n_routed_experts": 16}, "aggregated", {"tp-size": 1})
    assert dense(plan) == TP1
    assert not grouped(plan)


def test_the_shared_expert_of_the_full_model_rides_with_the_routed_ones(config):
    plan = plan_role(config, "aggregated", {"tp-size": 1})
    assert dense(plan) == TP1 - {(4096, 7168), (7168, 2048)}
    off = plan_role(config, "aggregated", {"tp-size": 1, "disable-shared-experts-fusion": True})
    assert dense(off) == TP1


def test_tp8_splits_heads_and_widths(config):
    flags = {"tp": 8, "disable-shared-experts-fusion": True}
    assert dense(plan_role(config, "aggregated", flags)) == {
        (2112, 7168), (3072, 1536), (4096, 512), (7168, 2048),
        (4608, 7168), (7168, 2304), (512, 7168), (7168, 256),
    }  # fmt: skip


def test_dp_attention_keeps_whole_heads_and_splits_the_dense_mlp(config):
    plan = plan_role(config, "aggregated", {"tp-size": 8, "dp-size": 8, "enable-dp-attention": True})
    assert (24576, 1536) in dense(plan)
    assert (4608, 7168) in dense(plan)
    half = plan_role(config, "aggregated", {"tp-size": 16, "dp-size": 4, "enable-dp-attention": True})
    assert (6144, 1536) in dense(half)


def test_wide_prefill_is_contiguous_and_wide_decode_masked(config):
    plan = plan_roles(config, [("prefill", PREFILL, {}), ("decode", DECODE, {})])
    by_role = {role: [s for s in plan.shapes if s.role == role] for role in ("prefill", "decode")}
    assert {(s.n, s.k) for s in by_role["prefill"] if s.groups == 1} == TP1
    # Decode never multiplies by kv_b_proj: it is absorbed into attention.
    assert {(s.n, s.k) for s in by_role["decode"] if s.groups == 1} == TP1 - {(32768, 512)}
    assert grouped(plan) == {
        ("CONTIG", 4096, 7168, 18), ("CONTIG", 7168, 2048, 18),
        ("MASKED", 4096, 7168, 9), ("MASKED", 7168, 2048, 9),
    }  # fmt: skip


def test_ms_follow_the_chunk_of_one_rank(config):
    plan = plan_roles(config, [("prefill", PREFILL, {}), ("decode", DECODE, {})])
    counts = {(s.role, s.kernel_type): len(s.sweep) for s in plan.shapes}
    assert counts["prefill", "GEMM_NT_F8F8BF16"] == 65536  # 2 x 524288 / 16
    assert counts["prefill", "GROUPED_GEMM_NT_F8F8BF16_CONTIG"] == 512  # every 128th
    assert counts["decode", "GROUPED_GEMM_NT_F8F8BF16_MASKED"] == 16384


@pytest.mark.parametrize(
    "mode, role, expected",
    [
        ("auto", "prefill", {"CONTIG"}),
        ("auto", "decode", {"MASKED"}),
        ("auto", "aggregated", {"CONTIG", "MASKED"}),
        ("normal", "decode", {"CONTIG"}),
        ("low_latency", "prefill", {"MASKED"}),
    ],
)
def test_deepep_modes(config, mode, role, expected):
    flags = {"tp-size": 8, "moe-a2a-backend": "deepep", "deepep-mode": mode}
    assert {kind for kind, *_ in grouped(plan_role(config, role, flags))} == expected


def test_the_flag_of_2025_is_the_flag_of_today(config):
    old = {"tp-size": 16, "enable-deepep-moe": True, "deepep_mode": "normal"}
    new = {"tp-size": 16, "moe-a2a-backend": "deepep", "deepep-mode": "normal"}
    assert plan_role(config, "prefill", old) == plan_role(config, "prefill", new)


def test_experts_run_on_triton_without_an_all_to_all(config):
    assert not grouped(plan_role(config, "aggregated", {"tp-size": 8, "ep-size": 8}))
    on = {"tp-size": 8, "ep-size": 8, "moe-runner-backend": "deep_gemm"}
    assert grouped(plan_role(config, "aggregated", on, sglang="0.5.16")) == {
        ("MASKED", 4096, 7168, 32), ("MASKED", 7168, 2048, 32),
    }  # fmt: skip
    both = grouped(plan_role(config, "aggregated", on, sglang="0.5.23"))
    assert {kind for kind, *_ in both} == {"MASKED", "CONTIG"}


def test_an_enforced_fusion_gives_every_rank_one_more_expert(config):
    flags = {
        "tp-size": 8, "moe-a2a-backend": "deepep", "enforce-shared-experts-fusion": True,
    }  # fmt: skip
    assert {groups for *_, groups in grouped(plan_role(config, "prefill", flags))} == {33}


def test_two_batch_overlap_builds_for_the_sms_that_deepep_leaves(config, tmp_path):
    flags = {**PREFILL, "enable-two-batch-overlap": True}
    plan = plan_role(config, "prefill", flags)
    reserved = {s.layer: s.reserved_sms for s in plan.shapes}
    assert reserved["attn.o_proj"] == (0, 20)
    assert reserved["mlp.down_proj"] == (0,)  # only sparse layers overlap
    deepep = tmp_path / "deepep.json"
    deepep.write_text(json.dumps({"normal_dispatch": {"num_sms": 24}}))
    tuned = plan_role(config, "prefill", {**flags, "deepep-config": str(deepep)})
    assert {s.layer: s.reserved_sms for s in tuned.shapes}["attn.o_proj"] == (0, 24)
    with pytest.raises(PlanError, match="num_sms"):
        plan_role(config, "prefill", {**flags, "deepep-config": str(tmp_path / "gone.json")})
    assert {s.reserved_sms for s in plan_role(config, "decode", flags).shapes} == {(0,)}


def test_another_gemm_backend_leaves_no_dense_shapes(config):
    assert not dense(plan_role(config, "decode", {"tp-size": 1, "fp8-gemm-backend": "triton"}))


def test_what_deep_gemm_cannot_run_is_a_note(config):
    plan = plan_role(config, "aggregated", {"tp-size": 32})
    assert (7168, 576) not in dense(plan)
    assert any("mlp.down_proj 7168x576 runs on Triton" in note for note in plan.notes)


def test_a_model_without_q_lora_has_two_projections(config):
    plan = plan_role({**config, "q_lora_rank": None}, "aggregated", {"tp-size": 1})
    assert {(24576, 7168), (576, 7168)} <= dense(plan)


def test_config_json_wins_over_the_shipped_dimensions(tmp_path, config):
    model = tmp_path / "DeepSeek-R1"
    assert load_config(str(model)) == config
    model.mkdir()
    (model / "config.json").write_text(json.dumps({**config, "hidden_size": 4096}))
    assert load_config(str(model))["hidden_size"] == 4096
    (model / "config.json").write_text("{")
    with pytest.raises(PlanError, match=r"config\.json: cannot be read as JSON"):
        load_config(str(model))
    with pytest.raises(PlanError, match="--from-log"):
        load_config("/nowhere/other-model")
    assert load_config("/model", "deepseek-ai/DeepSeek-R1") == config


@pytest.mark.parametrize(
    "change, match",
    [
        ({"architectures": ["Qwen2ForCausalLM"]}, "Qwen2ForCausalLM is not computed"),
        ({"quantization_config": None}, "quantization none"),
        ({"quantization_config": {"quant_method": "fp8"}}, "blocks none"),
        ({"hidden_size": None}, "lacks hidden_size"),
    ],
)
def test_a_model_that_is_not_computed_says_how_to_learn_it(config, change, match):
    with pytest.raises(PlanError, match=match) as caught:
        plan_role({**config, **change}, "decode", {})
    assert "--from-log" in str(caught.value)


@pytest.mark.parametrize(
    "flags, match",
    [
        ({"tp-size": "many"}, "tp-size must be a whole number"),
        ({"tp-size": 0}, "at least 1"),
        ({"tp-size": 8, "dp-size": 3, "enable-dp-attention": True}, "no multiple of 3"),
        ({"tp-size": 3}, "num_attention_heads 128 cannot be split over 3"),
        ({"tp-size": 8, "moe-a2a-backend": "deepep", "deepep-mode": "fast"}, "deepep-mode 'fast'"),
        (
            {"tp-size": 8, "moe-a2a-backend": "deepep", "ep-num-redundant-experts": 1},
            "257 cannot be split over 8",
        ),
    ],
)
def test_flags_that_do_not_fit_are_named(config, flags, match):
    with pytest.raises(PlanError, match=match):
        plan_role(config, "prefill", flags)


def test_an_unknown_role_lists_the_known(config):
    with pytest.raises(PlanError, match="prefill, decode, aggregated"):
        plan_role(config, "router", {})


def test_a_version_that_was_not_read_is_a_note(config):
    assert not plan_role(config, "decode", {}, sglang="0.5.16").notes
    notes = plan_role(config, "decode", {}, sglang="0.5.20").notes
    assert notes == ("SGLang 0.5.20 was not read itself; the rules of 0.5.16 are used",)


def test_the_gate_joins_when_its_environment_asks_for_it(config):
    env = {"SGLANG_OPT_BF16_FP32_GEMM_ALGO": "deep_gemm"}
    plan = plan_role(config, "decode", {}, env=env)
    assert ("GEMM_NT_BF16BF16F32", 256, 7168, 1) in {s.key for s in plan.shapes}
