"""A role's SGLang flags, reduced to the few that decide a kernel's shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .mlist import default_chunked_prefill

ALIASES = {
    "tp": "tp-size",
    "tensor-parallel-size": "tp-size",
    "dp": "dp-size",
    "data-parallel-size": "dp-size",
    "ep": "ep-size",
    "expert-parallel-size": "ep-size",
    "attention-context-parallel-size": "attn-cp-size",
    "moe-data-parallel-size": "moe-dp-size",
    "fp8-gemm-runner-backend": "fp8-gemm-backend",
}
ROLES = ("prefill", "decode", "aggregated")


class PlanError(ValueError):
    """Flags or a model from which no shapes follow; the message says which and what to do."""


@dataclass(frozen=True)
class Layout:
    """How one role lays the model over its GPUs.

    Sizes are counts of GPUs. chunked_prefill: tokens for one data-parallel rank, below 1 for
    unchunked. grouped: the grouped layouts in use, out of 'contiguous' and 'masked'; empty when
    the experts do not run on DeepGEMM. overlap_sms: SMs that two-batch overlap leaves to DeepEP
    in prefill, 0 without it.
    """

    role: str
    tp: int
    attention_tp: int
    dense_tp: int
    shared_tp: int
    ep: int
    moe_tp: int
    redundant_experts: int
    grouped: tuple[str, ...]
    fuse_shared: str  # 'never', 'per-rank' (a slot on every rank), or 'standard'
    dense_on_deep_gemm: bool
    chunked_prefill: int
    overlap_sms: int
    speculative: bool


def normalise(flags: Mapping[str, Any]) -> dict[str, Any]:
    """One spelling for every flag: dashes, long names, and today's name for retired ones."""
    named: dict[str, Any] = {}
    for name, value in flags.items():
        dashed = str(name).lstrip("-").replace("_", "-")
        named[ALIASES.get(dashed, dashed)] = value
    if named.pop("enable-deepep-moe", None):
        named.setdefault("moe-a2a-backend", "deepep")
    if named.pop("enable-ep-moe", None):
        named.setdefault("ep-size", named.get("tp-size", 1))
    return named


def layout(
    role: str,
    flags: Mapping[str, Any],
    rules: Mapping[str, Any],
    gpu_memory_gib: float = 80.0,
) -> Layout:
    """Read a role's flags as this SGLang version reads them.

    rules: an entry of data/sglang.json. gpu_memory_gib: decides the default chunked-prefill size.
    Raises PlanError for a value that is no number and for sizes that do not divide.
    """
    if role not in ROLES:
        raise PlanError(f"unknown role {role!r}; known: {', '.join(ROLES)}")
    named = normalise(flags)
    tp = _count(role, named, "tp-size", 1)
    dp = _count(role, named, "dp-size", 1)
    dp_attention = bool(named.get("enable-dp-attention")) and dp > 1
    context = _count(role, named, "attn-cp-size", 1)
    a2a = str(named.get("moe-a2a-backend") or "none")
    ep = tp if a2a in rules["a2a_spans_ep"] else _count(role, named, "ep-size", 1)
    dense_tp = _count(role, named, "moe-dense-tp-size", tp)
    chunk = named.get("chunked-prefill-size")
    chunk_tokens = (
        default_chunked_prefill(rules, gpu_memory_gib)
        if chunk is None
        else _integer(role, "chunked-prefill-size", chunk)
    )
    overlap = bool(named.get("enable-two-batch-overlap")) and role != "decode"
    gemm = str(named.get("fp8-gemm-backend") or "auto")
    return Layout(
        role=role,
        tp=tp,
        attention_tp=_divide(role, tp, (dp if dp_attention else 1) * context, "dp-size"),
        dense_tp=dense_tp,
        shared_tp=1 if a2a in rules["a2a_unsharded_shared_experts"] else tp,
        ep=ep,
        moe_tp=_divide(role, tp, ep * _count(role, named, "moe-dp-size", 1), "ep-size"),
        redundant_experts=_integer(role, "ep-num-redundant-experts", named.get("ep-num-redundant-experts") or 0),
        grouped=_grouped(role, named, a2a, rules),
        fuse_shared=_fusion(named, a2a, ep, rules),
        dense_on_deep_gemm=gemm in ("auto", "deep_gemm"),
        # SGLang divides the flag by dp-size, unset or not, as soon as DP attention is on.
        chunked_prefill=chunk_tokens // dp if dp_attention else chunk_tokens,
        overlap_sms=_overlap_sms(named, rules) if overlap else 0,
        speculative=bool(named.get("speculative-algorithm")),
    )


def _grouped(role: str, flags: Mapping[str, Any], a2a: str, rules: Mapping[str, Any]) -> tuple[str, ...]:
    """Which grouped kernels the experts run on: DeepEP's normal mode packs tokens contiguously,
    its low-latency mode pads every expert and passes a mask."""
    runner = str(flags.get("moe-runner-backend") or "auto")
    if runner not in ("auto", "deep_gemm"):
        return ()
    if a2a not in rules["a2a_uses_deep_gemm"]:
        # 'auto' without such an all-to-all runs the experts on Triton.
        standard = rules["standard_layouts"] if runner == "deep_gemm" and a2a == "none" else ()
        return tuple(standard)
    if a2a in rules["a2a_always_masked"]:
        return ("masked",)
    mode = str(flags.get("deepep-mode") or "auto")
    by_role = {
        "prefill": ("contiguous",),
        "decode": ("masked",),
        "aggregated": ("contiguous", "masked"),
    }
    by_mode = {"normal": ("contiguous",), "low_latency": ("masked",), "auto": by_role[role]}
    if mode not in by_mode:
        raise PlanError(f"{role}: deepep-mode {mode!r} is unknown; use {', '.join(sorted(by_mode))}")
    return by_mode[mode]


def _fusion(flags: Mapping[str, Any], a2a: str, ep: int, rules: Mapping[str, Any]) -> str:
    """Whether the shared expert rides in the routed experts' kernel, as SGLang decides it."""
    if flags.get("disable-shared-experts-fusion") or a2a == "flashinfer":
        return "never"
    slots = "per-rank" if a2a in rules["a2a_unfused_shared_experts"] else "standard"
    if flags.get("enforce-shared-experts-fusion") or flags.get("enable-waterfill"):
        return slots
    overlapped = flags.get("enable-two-batch-overlap") or flags.get("enable-single-batch-overlap")
    if overlapped or slots == "per-rank" or ep > 1:
        return "never"
    return "standard"


def _overlap_sms(flags: Mapping[str, Any], rules: Mapping[str, Any]) -> int:
    """SMs that DeepEP's dispatch holds: normal_dispatch.num_sms of --deepep-config, inline or in a
    file, else DeepEP's own default."""
    text = flags.get("deepep-config")
    default = int(rules["deepep_default_sms"])
    if not text:
        return default
    try:
        raw = str(text) if str(text).lstrip().startswith("{") else Path(str(text)).read_text()
        return int(json.loads(raw)["normal_dispatch"]["num_sms"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(
            f"deepep-config {str(text)[:80]!r}: cannot find normal_dispatch.num_sms ({error}); "
            "two-batch overlap builds kernels for the SMs that it leaves. Plan where the file can "
            "be read, or give the JSON itself."
        ) from error


def _integer(role: str, name: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise PlanError(f"{role}: {name} must be a whole number, not {value!r}") from error


def _count(role: str, flags: Mapping[str, Any], name: str, default: int) -> int:
    value = flags.get(name)
    number = default if value is None else _integer(role, name, value)
    if number < 1:
        raise PlanError(f"{role}: {name} must be at least 1, not {number}")
    return number


def _divide(role: str, tp: int, by: int, name: str) -> int:
    if tp % by:
        raise PlanError(f"{role}: tp-size {tp} is no multiple of {by} (from {name})")
    return tp // by
