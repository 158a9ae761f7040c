"""The worker that meets kernels: calls DeepGEMM once for every (shape, M) it was dealt.

Run as `python -m warmup.kernels.sweep JOB.json` inside the serving image. The compiler that
DeepGEMM calls here is a stand-in that hands back an empty kernel (see standin.py), so a call
costs some tens of microseconds and touches no data: operands are views of one small buffer, with
the shapes that the real server would use. This module alone imports torch and deep_gemm.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .process import die_with_parent

BLOCK = 128
PROGRESS_EVERY_S = 0.2


def main(argv: list[str] | None = None) -> int:
    """Status 0 when every worker met every kernel, 1 when one failed (stderr says which)."""
    arguments = sys.argv[1:] if argv is None else argv
    job = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    only = int(arguments[1]) if len(arguments) > 1 else None
    die_with_parent()
    import torch  # noqa: F401  (imported once here; every forked worker shares it)

    if only is not None:
        return _work(job, only)
    # Importing torch leaves CUDA alone, so a fork is safe and spares each worker that import;
    # importing deep_gemm does not, so each worker does that itself.
    warnings.simplefilter("ignore", DeprecationWarning)
    children: dict[int, int] = {}
    for index in range(len(job["hands"])):
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            os._exit(_work(job, index))
        children[pid] = index
    failed = 0
    while children:
        pid, status = os.wait()
        index = children.pop(pid)
        if status:
            print(f"worker {index} ended with status {status}", file=sys.stderr, flush=True)
            failed += 1
    return 1 if failed else 0


def _work(job: dict[str, Any], index: int) -> int:
    """One worker's pieces; its progress and failures are lines of `done.<index>`."""
    import torch

    report = Path(job["folder"]) / f"done.{index}"
    cache = Path(job["folder"]) / f"found.{index}"
    cache.mkdir(parents=True, exist_ok=True)
    os.environ["DG_JIT_CACHE_DIR"] = str(cache)  # read when the first kernel is met
    try:
        import deep_gemm

        torch.cuda.set_device(index % torch.cuda.device_count())
        if hasattr(deep_gemm, "set_pdl"):
            deep_gemm.set_pdl(True)  # SGLang's default
        total_sms = deep_gemm.get_num_sms()
        count, last = 0, time.monotonic()
        for piece in job["hands"][index]:
            deep_gemm.set_num_sms(total_sms - piece["reserved_sms"])
            call = prepare(deep_gemm, torch, piece, hollow=job["hollow"])
            for m in piece["ms"]:
                call(m)
                count += 1
                if time.monotonic() - last > PROGRESS_EVERY_S:
                    last = time.monotonic()
                    report.write_text(f"{count}\n")
            torch.cuda.synchronize()
            del call
            if not job["hollow"]:
                torch.cuda.empty_cache()
        report.write_text(f"{count}\ncomplete\n")
        return 0
    except Exception:
        traceback.print_exc()
        return 1


class _View:
    """Any shape over a small allocation, for kernels that are launched but never run."""

    def __init__(self, memory: Any, shape: tuple[int, ...], typestr: str) -> None:
        self.memory = memory  # the tensor made from this object keeps it alive
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "data": (memory.data_ptr(), False),
            "version": 2,
        }


def prepare(deep_gemm: Any, torch: Any, piece: dict[str, Any], hollow: bool) -> Callable[[int], None]:
    """A function of M that calls DeepGEMM as SGLang's warm-up does.

    piece: one balance.Piece as a dict. hollow: operands share one small buffer; False allocates
    them, for a run with the real compiler. Scales are always real, since DeepGEMM may lay them
    out with torch's own operations.
    """
    n, k, groups, max_m = piece["n"], piece["k"], piece["groups"], piece["max_m"]
    kind = piece["kernel_type"]
    base = torch.empty(1 << 20, dtype=torch.uint8, device="cuda")
    fp8, bf16, fp32 = torch.float8_e4m3fn, torch.bfloat16, torch.float32

    def matrix(shape: tuple[int, ...], dtype: Any) -> Any:
        if not hollow:
            return torch.empty(shape, dtype=dtype, device="cuda")
        typestr = {fp8: "|u1", bf16: "<i2", fp32: "<f4"}[dtype]
        plain = torch.as_tensor(_View(base, shape, typestr), device="cuda")
        return plain if dtype is fp32 else plain.view(dtype)

    def rows(shape: tuple[int, ...], block: int = BLOCK) -> tuple[Any, Any]:
        scales = torch.ones((*shape[:-1], -(-shape[-1] // block)), dtype=fp32, device="cuda")
        return matrix(shape, fp8), scales

    def blocks(shape: tuple[int, ...], block: int = BLOCK) -> tuple[Any, Any]:
        grid = (*shape[:-2], -(-shape[-2] // block), -(-shape[-1] // block))
        return matrix(shape, fp8), torch.ones(grid, dtype=fp32, device="cuda")

    if kind in ("GEMM_NT_F8F8BF16", "GEMM_NT_F8F8BF16_BLOCK32"):
        block = 32 if kind.endswith("BLOCK32") else BLOCK
        (a, sa), b, out = rows((max_m, k), block), blocks((n, k), block), matrix((max_m, n), bf16)
        recipe = {"recipe": (1, 32, 32)} if block == 32 else {}
        return lambda m: deep_gemm.fp8_gemm_nt((a[:m], sa[:m]), b, out[:m], **recipe)
    if kind == "GEMM_NT_BF16BF16F32":
        a, b, out = matrix((max_m, k), bf16), matrix((n, k), bf16), matrix((max_m, n), fp32)
        return lambda m: deep_gemm.bf16_gemm_nt(a[:m], b, out[:m])
    if kind.endswith("CONTIG"):
        layout = torch.zeros(max_m, dtype=torch.int32, device="cuda")
        out = matrix((max_m, n), bf16)
        if "F8F8" not in kind:
            a, b = matrix((max_m, k), bf16), matrix((groups, n, k), bf16)
            return lambda m: deep_gemm.m_grouped_bf16_gemm_nt_contiguous(a[:m], b, out[:m], layout[:m])
        (a, sa), b = rows((max_m, k)), blocks((groups, n, k))
        return lambda m: deep_gemm.m_grouped_fp8_gemm_nt_contiguous((a[:m], sa[:m]), b, out[:m], layout[:m])
    if kind.endswith("MASKED"):
        mask = torch.zeros(groups, dtype=torch.int32, device="cuda")
        out = matrix((groups, max_m, n), bf16)
        if "F8F8" not in kind:
            a, b = matrix((groups, max_m, k), bf16), matrix((groups, n, k), bf16)
            return lambda m: deep_gemm.m_grouped_bf16_gemm_nt_masked(a, b, out, masked_m=mask, expected_m=m)
        left, right = rows((groups, max_m, k)), blocks((groups, n, k))
        return lambda m: deep_gemm.fp8_m_grouped_gemm_nt_masked(left, right, out, masked_m=mask, expected_m=m)
    raise ValueError(f"unknown kernel type {kind!r}")


if __name__ == "__main__":
    sys.exit(main())
