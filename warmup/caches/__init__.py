"""What the compilers of a worker keep: which folders, one archive of them all, and a copy of it on each node.

This module is the table alone and imports nothing: the plan reads it too. The rest runs in the workers' container, with
the standard library.
"""

from __future__ import annotations

# Variable -> its folder below the node's own folder of caches. Without them most of these lie in HOME, which all nodes
# of many clusters share. Read in the sources of SGLang 0.5.16 and 0.5.23, FlashInfer 0.6.14 and TVM-FFI 0.1.15.
FOLDERS = {
    "SGLANG_DG_CACHE_DIR": "deepgemm",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TORCH_EXTENSIONS_DIR": "torch-extensions",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "TVM_FFI_CACHE_DIR": "tvm-ffi",
    "SGLANG_CACHE_DIR": "sglang",
    "SGLANG_JIT_CACHE_DIR": "sglang/jit",
    "CUTE_DSL_CACHE_DIR": "cute-dsl",
    "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR": "flash-attention",
    "TILELANG_CACHE_DIR": "tilelang",
    "EP_JIT_CACHE_DIR": "deepep",
    "CUDA_CACHE_PATH": "cuda",
    "HF_MODULES_CACHE": "hf-modules",
}
# Not in the archive: code that comes with a model, and what SGLang keeps of a model's weights.
LEFT_OUT = ("hf-modules", "sglang/ple", "sglang/model_streamer")
TOP = frozenset(folder.partition("/")[0] for folder in FOLDERS.values()) - set(LEFT_OUT)
