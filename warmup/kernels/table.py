"""The plan as people and programs read it."""

from __future__ import annotations

from typing import Any

from .manifest import KernelShape, Manifest

HEADER = ("role", "layer", "type", "N", "K", "groups", "Ms")
# Short names keep a row within 80 columns; the JSON has SGLang's own.
SHORT = {
    "GEMM_NT_F8F8BF16": "dense fp8",
    "GEMM_NT_F8F8BF16_BLOCK32": "dense fp8 b32",
    "GEMM_NT_BF16BF16F32": "dense bf16",
    "GROUPED_GEMM_NT_F8F8BF16_CONTIG": "grouped contig",
    "GROUPED_GEMM_NT_F8F8BF16_MASKED": "grouped masked",
    "GROUPED_GEMM_NT_BF16_CONTIG": "bf16 contig",
    "GROUPED_GEMM_NT_BF16_MASKED": "bf16 masked",
}


def plan_table(manifest: Manifest) -> str:
    """Plain text of at most 80 columns: one row a shape, the totals, then the notes."""
    rows = [HEADER, *(_row(shape) for shape in manifest.shapes)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = [_line(row, widths) for row in rows]
    distinct = manifest.distinct()
    runs = sum(len(shape.sweep) * len(shape.reserved_sms) for shape in distinct)
    lines.append("")
    lines.append(f"{len(distinct)} distinct shapes, {runs:,} (shape, M) pairs to cover")
    reserved = sorted({sms for shape in distinct for sms in shape.reserved_sms if sms})
    if reserved:
        lines.append(f"* also built for {', '.join(map(str, reserved))} SMs fewer: two-batch overlap")
    lines.extend(f"note: {note}" for note in manifest.notes)
    return "\n".join(lines) + "\n"


def plan_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest, each shape with its number of Ms and the digest that keys the archive."""
    document = manifest.to_json()
    for item, shape in zip(document["shapes"], manifest.shapes, strict=True):
        item["m_count"] = len(shape.sweep)
    document["distinct_shapes"] = len(manifest.distinct())
    return document


def _row(shape: KernelShape) -> tuple[str, ...]:
    mark = "*" if any(shape.reserved_sms) else ""
    return (
        shape.role,
        shape.layer,
        SHORT.get(shape.kernel_type, shape.kernel_type),
        str(shape.n),
        str(shape.k),
        str(shape.groups),
        f"{len(shape.sweep)}{mark}",
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        cell.ljust(width) if i < 3 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
