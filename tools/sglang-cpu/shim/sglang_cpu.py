"""Lets the published SGLang and NIXL wheels run on the CPU. Loaded by sglang_cpu.pth at the start of
every process that has SGLANG_USE_CPU_ENGINE=1, before SGLang is imported."""

from __future__ import annotations

from typing import Any

import sgl_kernel  # noqa: F401  registers the names of the operators
import torch


def declare_torchvision() -> torch.library.Library:
    """PyPI's torchvision is built for CUDA: its operators do not load beside a CPU torch, but its
    import needs their names."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def plain_memory_for_nixl() -> None:
    """SGLang registers its KV cache as "VRAM" always; here it is ordinary memory."""
    from nixl_cu12 import _api

    def wrapped(method: Any) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            args = tuple("DRAM" if isinstance(a, str) and a == "VRAM" else a for a in args)
            kwargs = {k: "DRAM" if isinstance(v, str) and v == "VRAM" else v for k, v in kwargs.items()}
            return method(self, *args, **kwargs)

        return call

    for name in ("register_memory", "get_xfer_descs", "get_reg_descs", "prep_xfer_dlist", "query_memory"):
        setattr(_api.nixl_agent, name, wrapped(getattr(_api.nixl_agent, name)))


LIBRARY = declare_torchvision()  # kept: the names go with it
plain_memory_for_nixl()
