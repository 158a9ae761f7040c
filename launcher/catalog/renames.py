"""Flags of SGLang that were renamed, folded into another flag, or dropped.

What a flag's own release says about its successor (its argparse action or help) is in the
catalogues themselves. This table holds what no single catalogue tells: successors of flags that
went without a word, values that a rename fixes, and what to do where nothing replaces a flag.

Versions are those of the wheels that were compared, from PyPI: 0.4.6.post5, 0.4.9.post6, 0.4.10,
0.5.1, 0.5.3, 0.5.5.post2, 0.5.8, 0.5.10, 0.5.12, 0.5.14, and 0.5.16 to 0.5.23. `since` is the
first of them that has the new name, so the change came after the one before it.
"""

from __future__ import annotations

from typing import NamedTuple

# The new flag takes the old one's value.
CARRY = None


class Rename(NamedTuple):
    """One flag's successor.

    `becomes` lists the new names, each with the value that says the same, or CARRY for the value
    the old flag had. It is empty where a flag was dropped; `note` then says what to do.
    """

    old: str
    becomes: tuple[tuple[str, str | bool | None], ...]
    since: str
    source: str
    note: str = ""


_WHEELS = "ServerArgs.add_cli_args of the two wheels around it"

RENAMES: tuple[Rename, ...] = (
    # 0.4.6 to 0.4.9
    Rename(
        "enable-flashinfer-mla",
        (("attention-backend", "flashinfer"),),
        "0.4.6.post5",
        "help text in 0.4.6.post5",
    ),
    Rename(
        "enable-flashmla",
        (("attention-backend", "flashmla"),),
        "0.4.6.post5",
        "help text in 0.4.6.post5",
    ),
    Rename(
        "n-share-experts-fusion",
        (),
        "0.4.9.post6",
        _WHEELS,
        "Leave it out: shared experts are fused by default, and disable-shared-experts-fusion: true turns that off",
    ),
    # 0.5.1 made the MoE back ends values of two flags; 0.5.1 still acts on the old names, 0.5.3
    # only warns and then runs without them, 0.5.5 refuses them.
    Rename(
        "enable-deepep-moe",
        (("moe-a2a-backend", "deepep"),),
        "0.5.1",
        "ServerArgs.__post_init__ in 0.5.1, help text in 0.5.3",
    ),
    Rename(
        "enable-ep-moe",
        (),
        "0.5.1",
        "help text in 0.5.3",
        "Set ep-size to the same value as tp-size",
    ),
    Rename(
        "enable-flashinfer-cutlass-moe",
        (("moe-runner-backend", "flashinfer_cutlass"),),
        "0.5.1",
        "help text in 0.5.3",
    ),
    Rename(
        "enable-flashinfer-cutedsl-moe",
        (("moe-runner-backend", "flashinfer_cutedsl"),),
        "0.5.3",
        "help text in 0.5.3",
    ),
    Rename(
        "enable-flashinfer-trtllm-moe",
        (("moe-runner-backend", "flashinfer_trtllm"),),
        "0.5.1",
        "help text in 0.5.3",
    ),
    Rename(
        "enable-flashinfer-mxfp4-moe",
        (("moe-runner-backend", "flashinfer_mxfp4"),),
        "0.5.1",
        "help text in 0.5.3",
    ),
    Rename(
        "enable-triton-kernel-moe",
        (("moe-runner-backend", "triton_kernel"),),
        "0.5.1",
        "help text in 0.5.3",
    ),
    # 0.5.3 to 0.5.10
    Rename("max-micro-batch-size", (("pp-max-micro-batch-size", CARRY),), "0.5.5.post2", _WHEELS),
    Rename("nsa-prefill", (("nsa-prefill-backend", CARRY),), "0.5.5.post2", _WHEELS),
    Rename("nsa-decode", (("nsa-decode-backend", CARRY),), "0.5.5.post2", _WHEELS),
    Rename("oltp-traces-endpoint", (("otlp-traces-endpoint", CARRY),), "0.5.5.post2", _WHEELS),
    Rename(
        "disaggregation-decode-tp",
        (),
        "0.5.10",
        _WHEELS,
        "Leave it out: the two sides tell each other their sizes",
    ),
    Rename(
        "disaggregation-decode-dp",
        (),
        "0.5.10",
        _WHEELS,
        "Leave it out: the two sides tell each other their sizes",
    ),
    Rename(
        "disaggregation-prefill-pp",
        (),
        "0.5.10",
        _WHEELS,
        "Leave it out: the two sides tell each other their sizes",
    ),
    # 0.5.12 to 0.5.16: one flag for each phase's CUDA graphs, DSA for NSA
    Rename(
        "hybrid-kvcache-ratio",
        (("swa-full-tokens-ratio", CARRY),),
        "0.4.9.post6",
        "help text in 0.5.8",
    ),
    Rename(
        "disable-cuda-graph",
        (("cuda-graph-backend-decode", "disabled"), ("cuda-graph-backend-prefill", "disabled")),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename("cuda-graph-bs", (("cuda-graph-bs-decode", CARRY),), "0.5.14", "new_flag in 0.5.14"),
    Rename(
        "cuda-graph-max-bs",
        (("cuda-graph-max-bs-decode", CARRY),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename(
        "disable-piecewise-cuda-graph",
        (("cuda-graph-backend-prefill", "disabled"),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename(
        "enable-breakable-cuda-graph",
        (("cuda-graph-backend-prefill", "breakable"),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename(
        "enforce-piecewise-cuda-graph",
        (("cuda-graph-backend-prefill", "tc_piecewise"),),
        "0.5.14",
        "new_flag in 0.5.14; the value went in 0.5.22",
    ),
    Rename(
        "enable-piecewise-cuda-graph",
        (),
        "0.5.10",
        "help text in 0.5.10",
        "Leave it out: piecewise graphs are the default for prefill",
    ),
    Rename(
        "piecewise-cuda-graph-tokens",
        (("cuda-graph-bs-prefill", CARRY),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename(
        "piecewise-cuda-graph-max-tokens",
        (("cuda-graph-max-bs-prefill", CARRY),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename(
        "piecewise-cuda-graph-compiler",
        (("cuda-graph-tc-compiler", CARRY),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename(
        "cuda-graph-tc-compiler",
        (),
        "0.5.22",
        _WHEELS,
        "Leave it out: the backend it was for is gone",
    ),
    Rename(
        "nsa-prefill-backend",
        (("dsa-prefill-backend", CARRY),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename("nsa-decode-backend", (("dsa-decode-backend", CARRY),), "0.5.14", "new_flag in 0.5.14"),
    Rename(
        "enable-nsa-prefill-context-parallel",
        (("enable-prefill-cp", CARRY),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename(
        "enable-dsa-prefill-context-parallel",
        (("enable-prefill-cp", CARRY),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename(
        "enable-prefill-context-parallel",
        (("enable-prefill-cp", CARRY),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    # The values changed too: in-seq-split is zigzag, round-robin-split is interleave.
    *(
        Rename(
            old,
            (),
            "0.5.14",
            "help text in 0.5.14",
            "Write cp-strategy: zigzag for in-seq-split, cp-strategy: interleave for round-robin-split",
        )
        for old in ("nsa-prefill-cp-mode", "dsa-prefill-cp-mode", "prefill-cp-mode")
    ),
    Rename(
        "mamba-scheduler-strategy",
        (("mamba-radix-cache-strategy", CARRY),),
        "0.5.14",
        "new_flag in 0.5.14",
    ),
    Rename(
        "speculative-dflash-draft-window-size",
        (("speculative-draft-window-size", CARRY),),
        "0.5.12",
        "new_flag in 0.5.14",
    ),
    Rename(
        "stream-output",
        (("incremental-streaming-output", CARRY),),
        "0.5.10",
        "new_flag in 0.5.10",
    ),
    Rename("enable-deepep-waterfill", (("enable-waterfill", CARRY),), "0.5.16", _WHEELS),
    Rename(
        "optimistic-prefill-retries",
        (),
        "0.5.16",
        _WHEELS,
        "Write optimistic-prefill-attempts, which counts forward passes",
    ),
    # Later
    Rename(
        "keep-mm-feature-on-device",
        (("mm-feature-transport", "cuda_ipc"),),
        "0.5.16",
        "help text in 0.5.16",
    ),
    Rename(
        "elastic-ep-rejoin",
        (("elastic-ep-join-mode", "recover"),),
        "0.5.16",
        "help text in 0.5.16",
    ),
    Rename("grpc-mode", (("smg-grpc-mode", CARRY),), "0.5.16", "help text in 0.5.16"),
    Rename(
        "enable-flashinfer-allreduce-fusion",
        (("flashinfer-allreduce-fusion-backend", "auto"),),
        "0.5.14",
        "help text in 0.5.14",
    ),
    Rename(
        "enable-gdn-replayssm-spec",
        (("enable-linear-replayssm-spec", CARRY),),
        "0.5.17",
        "new_flag in 0.5.17",
    ),
    Rename(
        "enable-expert-distribution-metrics",
        (),
        "0.5.18",
        "error_message in 0.5.18",
        "Write expert-balancedness-report-mode: server_log, prometheus or both",
    ),
    Rename(
        "disable-fast-image-processor",
        (("image-processor-backend", "pil"),),
        "0.5.18",
        "help text in 0.5.18",
    ),
    Rename(
        "enable-dp-attention",
        (("attn-dp-size", CARRY),),
        "0.5.22",
        "new_flag in 0.5.22; to be removed after 2026-12-31",
        # Its value is dp-size's, which SGLang moves; see Catalog._dp_attention.
    ),
    Rename(
        "monokernel-backend",
        (("enable-amd-monokernel", True),),
        "0.5.23",
        "new_flag in 0.5.23",
    ),
    # Dropped with nothing to do
    *(
        Rename(old, (), since, source, f"Leave it out: {why}")
        for old, since, source, why in (
            ("prefill-round-robin-balance", "0.5.8", "help text in 0.5.8", "it has no effect"),
            (
                "collect-tokens-histogram",
                "0.5.12",
                "help text in 0.5.12",
                "enable-metrics: true collects the histograms",
            ),
            (
                "enable-nan-detection",
                "0.5.12",
                "help text in 0.5.12",
                "SGLANG_SPEC_NAN_DETECTION=1 and SGLANG_SPEC_OOB_DETECTION=1 in env do it now",
            ),
            ("torchao-config", "0.5.18", _WHEELS, "see quantization for the methods there are"),
        )
    ),
)
