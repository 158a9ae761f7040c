"""What to build, as one JSON document: computed by shapes.py or learned by log.py.

The manifest is what crosses from the machine that plans to the GPU node that builds, and what is
kept when shapes were learned from a log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .mlist import Sweep

FORMAT = 1

KERNEL_TYPES = (
    "GEMM_NT_F8F8BF16",
    "GEMM_NT_F8F8BF16_BLOCK32",
    "GEMM_NT_BF16BF16F32",
    "GROUPED_GEMM_NT_F8F8BF16_CONTIG",
    "GROUPED_GEMM_NT_F8F8BF16_MASKED",
    "GROUPED_GEMM_NT_BF16_CONTIG",
    "GROUPED_GEMM_NT_BF16_MASKED",
)


class ManifestError(ValueError):
    """A manifest that cannot be read; the message names the file and the field."""


@dataclass(frozen=True)
class KernelShape:
    """One (kernel type, N, K, num_groups) that a role meets, with the Ms it is swept over.

    n, k: elements of the per-rank weight, [N, K] or [groups, N, K]. groups: experts of one rank,
    1 for a dense layer. reserved_sms: how many of the GPU's SMs the kernel must leave free; one
    kernel is built for each entry, since the SM count is part of a kernel's source.
    """

    role: str
    layer: str
    kernel_type: str
    n: int
    k: int
    groups: int
    sweep: Sweep
    reserved_sms: tuple[int, ...] = (0,)

    @property
    def key(self) -> tuple[str, int, int, int]:
        """What SGLang keys its own sweep by."""
        return (self.kernel_type, self.n, self.k, self.groups)

    def to_json(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "layer": self.layer,
            "type": self.kernel_type,
            "n": self.n,
            "k": self.k,
            "groups": self.groups,
            "ms": self.sweep.to_json(),
            "reserved_sms": list(self.reserved_sms),
        }


@dataclass(frozen=True)
class Manifest:
    """All shapes of a deployment. source: 'computed' or 'log'; notes: for people."""

    shapes: tuple[KernelShape, ...]
    sglang: str | None = None
    source: str = "computed"
    notes: tuple[str, ...] = ()

    def distinct(self) -> tuple[KernelShape, ...]:
        """The shapes with roles and layers folded together: what a build has to sweep.

        Two layers of the same (type, N, K, groups) become one entry; its Ms are those of the
        larger sweep when one holds the other, else both ranges side by side.
        """
        folded: dict[tuple[str, int, int, int], KernelShape] = {}
        for shape in self.shapes:
            known = folded.get(shape.key)
            if known is None:
                folded[shape.key] = shape
                continue
            folded[shape.key] = KernelShape(
                known.role,
                known.layer,
                *shape.key,
                sweep=_union(known.sweep, shape.sweep),
                reserved_sms=tuple(sorted({*known.reserved_sms, *shape.reserved_sms})),
            )
        return tuple(folded[key] for key in sorted(folded))

    @property
    def digest(self) -> str:
        """SHA-256 over what determines the kernels; names of roles and layers do not."""
        facts = [[*shape.key, shape.sweep.to_json(), list(shape.reserved_sms)] for shape in self.distinct()]
        return hashlib.sha256(json.dumps(facts, separators=(",", ":")).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "sglang": self.sglang,
            "source": self.source,
            "notes": list(self.notes),
            "digest": self.digest,
            "shapes": [shape.to_json() for shape in self.shapes],
        }

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, value: Any, where: str = "manifest") -> Manifest:
        """Raises ManifestError that names `where` and the field at fault."""
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise ManifestError(
                f"{where}: not a kernel manifest of format {FORMAT}; write one with "
                "'warmup --kernels --plan --json' or '--from-log'"
            )
        shapes = value.get("shapes")
        if not isinstance(shapes, list) or not shapes:
            raise ManifestError(f"{where}: 'shapes' must be a list with at least one entry")
        return cls(
            shapes=tuple(_shape(item, f"{where}: shapes[{i}]") for i, item in enumerate(shapes)),
            sglang=value.get("sglang"),
            source=str(value.get("source", "computed")),
            notes=tuple(str(note) for note in value.get("notes", ())),
        )

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Raises ManifestError when the file is missing, no JSON, or no manifest."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{path}: is not JSON: {error}") from error
        return cls.from_json(value, str(path))


def merge(manifests: Iterable[Manifest]) -> Manifest:
    """One manifest for several roles; the notes keep their order without repeats."""
    parts = list(manifests)
    return Manifest(
        shapes=tuple(shape for part in parts for shape in part.shapes),
        sglang=next((part.sglang for part in parts if part.sglang), None),
        source=parts[0].source if parts else "computed",
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _union(one: Sweep, other: Sweep) -> Sweep:
    first, second = set(one), set(other)
    if first >= second:
        return one
    if second >= first:
        return other
    return Sweep(one.ranges + other.ranges)


def _shape(item: Any, where: str) -> KernelShape:
    try:
        shape = KernelShape(
            role=str(item.get("role", "")),
            layer=str(item.get("layer", "")),
            kernel_type=str(item["type"]),
            n=int(item["n"]),
            k=int(item["k"]),
            groups=int(item["groups"]),
            sweep=Sweep.from_json(item["ms"]),
            reserved_sms=tuple(int(sms) for sms in item.get("reserved_sms", [0])),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{where}: {error!s} is missing or wrong") from error
    if shape.kernel_type not in KERNEL_TYPES:
        raise ManifestError(f"{where}: unknown kernel type {shape.kernel_type!r}; known: {', '.join(KERNEL_TYPES)}")
    if min(shape.n, shape.k, shape.groups) < 1 or not shape.reserved_sms:
        raise ManifestError(f"{where}: n, k, groups and reserved_sms must be positive")
    return shape
