"""The per-rank weights that SGLang's own model code makes for a given layout, without any GPU.

SGLang reads its parallel sizes from one place that can be overridden, so one process can build a
DeepSeek model on the meta device as rank 0 of any layout and list the shapes of its FP8 weights.
Only what needs a cluster is replaced: the expert layer's dispatcher.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

# Changes of DeepSeek-V3's config.json; sizes of experts and heads are those of the public checkpoints where known.
INDEXER = {"index_topk": 2048, "index_head_dim": 128}
V32 = {"architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32", "index_n_heads": 64, **INDEXER}
GLM5 = {
    "architectures": ["GlmMoeDsaForCausalLM"], "model_type": "glm_moe_dsa", "index_n_heads": 32, **INDEXER,
    "indexer_rope_interleave": True, "hidden_size": 6144, "intermediate_size": 12288, "num_attention_heads": 64,
    "q_lora_rank": 2048, "qk_nope_head_dim": 192, "v_head_dim": 256, "n_group": 1, "topk_group": 1,
}  # fmt: skip
KIMI = {"num_attention_heads": 64, "n_routed_experts": 384, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1}
QWEN35 = {
    "architectures": ["Qwen3_5MoeForCausalLM"], "model_type": "qwen3_5_moe_text", "hidden_size": 4096,
    "moe_intermediate_size": 1024, "shared_expert_intermediate_size": 1024, "num_experts": 512,
    "num_experts_per_tok": 10, "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 256,
    "linear_num_key_heads": 16, "linear_num_value_heads": 64, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "full_attention_interval": 4,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    "quantization_config": {
        "quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
        "modules_to_not_convert": [f"model.layers.{n}.linear_attn.in_proj_{x}" for n in range(4) for x in ("b", "ba")],
    },
}  # fmt: skip
# name, flags, changes of config.json
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("tp1", {"tp-size": 1}, {}),
    ("tp1-few-experts", {"tp-size": 1}, {"n_routed_experts": 16}),
    ("tp8", {"tp-size": 8}, {}),
    ("tp8-unfused", {"tp-size": 8, "disable-shared-experts-fusion": True}, {}),
    ("tp8-ep8", {"tp-size": 8, "ep-size": 8, "moe-runner-backend": "deep_gemm"}, {}),
    ("tp8-dp8", {"tp-size": 8, "dp-size": 8, "enable-dp-attention": True}, {}),
    ("tp16-dp4", {"tp-size": 16, "dp-size": 4, "enable-dp-attention": True}, {}),
    (
        "tp16-dp16-deepep",
        {
            "tp-size": 16, "dp-size": 16, "enable-dp-attention": True, "moe-dense-tp-size": 1,
            "moe-a2a-backend": "deepep", "ep-num-redundant-experts": 32,
        },
        {},
    ),
    (
        "tp32-dp32-deepep",
        {
            "tp-size": 32, "dp-size": 32, "enable-dp-attention": True, "moe-dense-tp-size": 1,
            "moe-a2a-backend": "deepep", "ep-num-redundant-experts": 32,
        },
        {},
    ),
    (
        "tp8-deepep-fused",
        {
            "tp-size": 8, "moe-a2a-backend": "deepep", "enforce-shared-experts-fusion": True,
        },
        {},
    ),
    ("v32-tp8", {"tp-size": 8}, V32),
    ("v32-tp8-deepep", {"tp-size": 8, "moe-a2a-backend": "deepep"}, V32),
    ("glm5-tp8", {"tp-size": 8}, GLM5),
    ("glm5-tp8-ep8", {"tp-size": 8, "ep-size": 8, "moe-runner-backend": "deep_gemm"}, GLM5),
    ("kimi-k2-tp16", {"tp-size": 16}, KIMI),
    ("kimi-k2-tp16-deepep", {"tp-size": 16, "moe-a2a-backend": "deepep"}, KIMI),
    ("qwen35-tp4", {"tp-size": 4}, QWEN35),
    ("qwen35-tp8-ep8", {"tp-size": 8, "ep-size": 8, "moe-runner-backend": "deep_gemm"}, QWEN35),
    ("qwen35-tp8-deepep", {"tp-size": 8, "moe-a2a-backend": "deepep"}, QWEN35),
]  # fmt: skip
MODULES = {"GlmMoeDsaForCausalLM": "glm4_moe", "Qwen3_5MoeForCausalLM": "qwen3_5_text"}  # else deepseek_v2


def version() -> str:
    """SGLang's version. Raises ImportError without SGLang."""
    import sglang

    return str(sglang.__version__)


def weights(model: Path, flags: Mapping[str, Any], with_experts: bool) -> set[tuple[int, int, int]]:
    """(experts, N, K) of every FP8 weight on rank 0; experts is 0 for a dense layer.

    model: a folder with config.json. with_experts: list the experts' weights too.
    """
    import torch

    _start_once(model)
    with _as_rank_0(model, flags) as (config, quantization, model_class):
        # Float scales and buffers are made on the CPU by some layers; only parameters matter here.
        with torch.device("meta"):
            network = model_class(config=config, quant_config=quantization)
        found: set[tuple[int, int, int]] = set()
        for name, parameter in network.named_parameters():
            if parameter.dtype != torch.float8_e4m3fn:
                continue
            if parameter.dim() == 3 and with_experts:
                found.add((parameter.shape[0], parameter.shape[1], parameter.shape[2]))
            elif parameter.dim() == 2 and "experts.w" not in name:
                found.add((0, parameter.shape[0], parameter.shape[1]))
        return found


_started = False


def _start_once(model: Path) -> None:
    """One process group of one process, which SGLang's layers expect to be there."""
    global _started
    if _started:
        return
    import torch
    from sglang.srt import runtime_context
    from sglang.srt.distributed import parallel_state

    # Newer versions compare overridden sizes with the groups; here one process plays rank 0 of many.
    if hasattr(runtime_context, "_validate_parallel"):
        runtime_context._validate_parallel = lambda *_, **__: None
    _publish(model, {"tp-size": 1})
    cuda = torch.cuda.is_available()
    parallel_state.init_distributed_environment(
        world_size=1, rank=0, local_rank=0, backend="nccl" if cuda else "gloo",
        distributed_init_method="tcp://127.0.0.1:29577",
    )  # fmt: skip
    parallel_state.initialize_model_parallel()
    _started = True


@contextlib.contextmanager
def _as_rank_0(model: Path, flags: Mapping[str, Any]) -> Any:
    """SGLang's global state as the first rank of the layout sees it while it builds the model."""
    from sglang.srt import runtime_context
    from sglang.srt.configs.model_config import ModelConfig
    from sglang.srt.layers import deep_gemm_wrapper
    from sglang.srt.layers.attention.dsa import dsa_indexer
    from sglang.srt.layers.moe.fused_moe_triton import layer as fused
    from sglang.srt.layers.moe.utils import initialize_moe_config
    from sglang.srt.layers.quantization.fp8 import Fp8Config
    from sglang.srt.models import deepseek_v2
    from sglang.srt.runtime_context import get_parallel

    arguments = _publish(model, flags)
    # Older versions are handed the arguments, newer ones read what was published.
    initialize_moe_config(*([arguments] if signature(initialize_moe_config).parameters else []))
    tp = arguments.tp_size
    # Every all-to-all of these cases spans all ranks; newer versions resolve that out of sight.
    ep = tp if flags.get("moe-a2a-backend") else flags.get("ep-size", 1)
    dp = arguments.dp_size if arguments.enable_dp_attention else 1
    sizes = {
        "tp_size": tp, "moe_ep_size": ep, "moe_tp_size": tp // ep, "attn_tp_size": tp // dp,
        "attn_dp_size": dp, "moe_dp_size": 1, "attn_cp_size": 1, "pp_size": 1,
    }  # fmt: skip
    ranks = {name.replace("_size", "_rank"): 0 for name in sizes}
    config = ModelConfig.from_server_args(arguments).hf_config
    (architecture,) = config.architectures
    module = import_module(f"sglang.srt.models.{MODULES.get(architecture, 'deepseek_v2')}")
    model_class = getattr(module, architecture)
    if "qwen3_5" in module.__name__:  # it pads its heads on the CPU
        for name in ("qwen3_5", "qwen2_moe"):
            import_module(f"sglang.srt.models.{name}")._is_cpu = False
    quantization = Fp8Config.from_config(config.quantization_config)
    dsa_indexer._is_cuda, dsa_indexer.resolve_num_sms = True, lambda *_: 132  # it fuses two weights on CUDA alone
    fused.create_moe_dispatcher = lambda *_, **__: None
    deep_gemm_wrapper.ENABLE_JIT_DEEPGEMM = True  # as on the GPU that the plan is for
    groups = {}
    if hasattr(runtime_context, "_validate_parallel"):  # newer layers ask their group for its size
        for name in ("tp", "attn_tp", "moe_ep", "moe_tp"):
            real = getattr(get_parallel(), f"{name}_group")
            groups[f"{name}_group"] = _Group(real, sizes[f"{name}_size"])
    with (
        get_parallel().override(**sizes, **ranks, **groups),
        _shared_experts(deepseek_v2, model_class, config, quantization),
    ):
        yield config, quantization, model_class


class _Group:
    """A group of one process that says it has more."""

    def __init__(self, real: Any, size: int) -> None:
        self._real, self.world_size, self.rank_in_group = real, size, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@contextlib.contextmanager
def _shared_experts(models: Any, model_class: Any, config: Any, quantization: Any) -> Any:
    """Let SGLang decide on fusing the shared expert as it would on a Hopper GPU: its loader asks
    the model class in newer versions, the model asks itself in older ones."""
    from sglang.srt.layers.moe import utils

    if hasattr(utils, "resolve_shared_experts_config"):
        with _hopper(models):
            decided = utils.resolve_shared_experts_config(model_class, config, quantization)
        from sglang.srt.runtime_context import get_model

        with get_model().override(shared_experts=decided):
            yield
        return
    owner = models.DeepseekV2ForCausalLM
    decide = owner.determine_num_fused_shared_experts

    def on_hopper(self: Any, *arguments: Any) -> None:
        with _hopper(models):
            decide(self, *arguments)

    owner.determine_num_fused_shared_experts = on_hopper
    try:
        yield
    finally:
        owner.determine_num_fused_shared_experts = decide


@contextlib.contextmanager
def _hopper(models: Any) -> Any:
    import torch

    seen = models._is_cuda, torch.cuda.get_device_capability
    models._is_cuda, torch.cuda.get_device_capability = True, lambda *_: (9, 0)
    try:
        yield
    finally:
        models._is_cuda, torch.cuda.get_device_capability = seen


def _publish(model: Path, flags: Mapping[str, Any]) -> Any:
    import torch
    from sglang.srt.server_args import ServerArgs, set_global_server_args_for_scheduler

    names = {name.replace("-", "_"): value for name, value in flags.items()}
    torch.cuda.get_device_capability = lambda *_: (9, 0)  # V3.2's and GLM-5's defaults depend on it
    arguments = ServerArgs(
        model_path=str(model), load_format="dummy", attention_backend="triton",
        trust_remote_code=True, disable_cuda_graph=True, disable_radix_cache=True, **names,
    )  # fmt: skip
    set_global_server_args_for_scheduler(arguments)
    return arguments
