"""Every DeepGEMM shape that a role meets, from config.json and SGLang's flags (families.py has the layers).

data/models.json holds public dimensions for the case that the model folder is not at hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from .families import FAMILIES, Family, family_of, is_fused, shared_experts, split, text_config
from .flags import Layout, PlanError, layout
from .manifest import KernelShape, Manifest, merge
from .mlist import Sweep, rules_for, sweep_for

BLOCK = 128  # the FP8 scale block that DeepGEMM's kernels are written for

DENSE = "GEMM_NT_F8F8BF16"
CONTIGUOUS = "GROUPED_GEMM_NT_F8F8BF16_CONTIG"
MASKED = "GROUPED_GEMM_NT_F8F8BF16_MASKED"
GATE = "GEMM_NT_BF16BF16F32"


def known_config(name: str) -> dict[str, Any] | None:
    """The public config.json fields of a model, by hub id, folder name or served name.

    None when the name is no member of the family; 'deepseek-ai/DeepSeek-R1' and
    '/models/DeepSeek-R1-0528/' both match.
    """
    raw = json.loads(resources.files(__package__).joinpath("data/models.json").read_text("utf-8"))
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    for family in raw["families"]:
        if last == family["name"] or last in {alias.lower() for alias in family["aliases"]}:
            like = known_config(family["like"]) if "like" in family else None
            return {**(like or {}), **family["config"]}
    return None


def load_config(model_path: str | None, served_name: str | None = None) -> dict[str, Any]:
    """config.json of the model folder when it is there, else the public dimensions.

    Raises PlanError when neither the folder nor a known name helps, or config.json is broken.
    """
    if model_path:
        file = Path(model_path) / "config.json"
        if file.is_file():
            try:
                value = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise PlanError(f"{file}: cannot be read as JSON: {error}") from error
            if not isinstance(value, dict):
                raise PlanError(f"{file}: must hold an object, not {type(value).__name__}")
            return value
    for name in (model_path, served_name):
        found = known_config(name) if name else None
        if found is not None:
            return found
    raise PlanError(
        f"no config.json under {model_path or 'the model path'} and {served_name or 'the model'} "
        "is not in the shipped DeepSeek and Kimi dimensions; plan where the model folder is mounted, "
        "or learn the shapes from a log with --from-log FILE"
    )


def plan_role(
    config: Mapping[str, Any],
    role: str,
    flags: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    sglang: str | None = None,
    gpu_memory_gib: float = 80.0,
) -> Manifest:
    """All shapes of one role.

    config: config.json. flags: SGLang's flags with dashed names. env: the role's environment,
    for SGLANG_JIT_DEEPGEMM_FAST_WARMUP and SGLANG_OPT_BF16_FP32_GEMM_ALGO. sglang: its version,
    None for the newest known. gpu_memory_gib: of one GPU. Raises PlanError.
    """
    config = text_config(config)
    family = _family(config)
    kept = [str(name) for name in config["quantization_config"].get("modules_to_not_convert") or ()]
    env = env or {}
    rules = rules_for(sglang)
    plan = layout(role, flags, rules, gpu_memory_gib)
    fast = env.get("SGLANG_JIT_DEEPGEMM_FAST_WARMUP", "0").lower() in ("1", "true", "yes")
    sweep = sweep_for(rules, plan.chunked_prefill, fast)
    notes: list[str] = []
    if sglang is not None and sglang not in rules["checked"]:
        notes.append(f"SGLang {sglang} was not read itself; the rules of {rules['since']} are used")
    shapes = []
    if plan.dense_on_deep_gemm:
        for layer, n, k, overlapped in family.dense(config, plan, rules):
            if any(family.names.get(layer, layer) in name for name in kept):
                continue  # the checkpoint has it in BF16
            if n % 64 or k % BLOCK:
                notes.append(f"{role}: {layer} {n}x{k} runs on Triton (N % 64 or K % 128)")
                continue
            shapes.append(_shape(role, layer, DENSE, n, k, 1, sweep, plan, overlapped))
    for layer, kind, n, k, groups in _expert_layers(config, family, plan, rules):
        fitted = sweep.multiples_of(rules["contiguous_alignment"]) if kind == CONTIGUOUS else sweep
        shapes.append(_shape(role, layer, kind, n, k, groups, fitted, plan, True))
    if env.get("SGLANG_OPT_BF16_FP32_GEMM_ALGO") == "deep_gemm":
        experts, hidden = config[family.experts], config["hidden_size"]
        shapes.append(_shape(role, "moe.gate", GATE, experts, hidden, 1, sweep, plan, True))
    return Manifest(tuple(shapes), sglang=sglang, notes=tuple(notes))


def plan_roles(
    config: Mapping[str, Any],
    roles: Iterable[tuple[str, Mapping[str, Any], Mapping[str, str]]],
    *,
    sglang: str | None = None,
    gpu_memory_gib: float = 80.0,
) -> Manifest:
    """One manifest for several roles, each given as (role, flags, environment)."""
    return merge(
        plan_role(config, role, flags, env=env, sglang=sglang, gpu_memory_gib=gpu_memory_gib)
        for role, flags, env in roles
    )


def _shape(
    role: str,
    layer: str,
    kind: str,
    n: int,
    k: int,
    groups: int,
    sweep: Sweep,
    plan: Layout,
    overlapped: bool,
) -> KernelShape:
    # Two-batch overlap runs a sparse layer's GEMMs on the SMs that DeepEP leaves, and falls back
    # to all of them when a batch cannot be split: both counts are met.
    reserved = (0, plan.overlap_sms) if overlapped and plan.overlap_sms else (0,)
    return KernelShape(role, layer, kind, n, k, groups, sweep, reserved)


def _expert_layers(
    config: Mapping[str, Any], family: Family, plan: Layout, rules: Mapping[str, Any]
) -> Iterator[tuple[str, str, int, int, int]]:
    """(layer, kernel type, N, K, experts on one rank) of the routed experts on DeepGEMM."""
    if not plan.grouped or not config.get(family.experts):
        return
    total = config[family.experts] + plan.redundant_experts
    groups = split(plan, total, plan.ep, f"{family.experts} + ep-num-redundant-experts")
    if shared_experts(config) and is_fused(config, plan, rules):
        groups += shared_experts(config)
    inner = split(plan, config["moe_intermediate_size"], plan.moe_tp, "moe_intermediate_size")
    hidden = config["hidden_size"]
    for kind in plan.grouped:
        kernel = CONTIGUOUS if kind == "contiguous" else MASKED
        yield "experts.gate_up", kernel, 2 * inner, hidden, groups
        yield "experts.down", kernel, hidden, inner, groups


def _family(config: Mapping[str, Any]) -> Family:
    """Raises PlanError unless the model is one whose layers are known here."""
    learn = "start SGLang once and learn the shapes with --from-log FILE"
    names, family = config.get("architectures") or (), family_of(config)
    if family is None:
        known = ", ".join(FAMILIES)
        raise PlanError(f"architecture {', '.join(names) or 'unnamed'} is not computed here (known: {known}); {learn}")
    quantization = config.get("quantization_config") or {}
    method, block = quantization.get("quant_method"), quantization.get("weight_block_size")
    if method != "fp8" or list(block or ()) != [BLOCK, BLOCK]:
        raise PlanError(
            f"quantization {method or 'none'} with blocks {block or 'none'} is not computed here "
            f"(DeepGEMM's FP8 kernels need fp8 with [128, 128]); {learn}"
        )
    missing = [name for name in family.needed if not isinstance(config.get(name), int)]
    if missing:
        raise PlanError(f"config.json lacks {', '.join(missing)}; {learn}")
    return family
