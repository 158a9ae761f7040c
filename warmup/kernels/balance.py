"""Cutting the sweep into pieces that end at about the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .manifest import KernelShape

STRIDE = 64


@dataclass(frozen=True)
class Piece:
    """Some Ms of one shape at one SM count. ms: in the order in which they are tried."""

    kernel_type: str
    n: int
    k: int
    groups: int
    reserved_sms: int
    max_m: int
    ms: tuple[int, ...]


def coarse_first(ms: Sequence[int], stride: int = STRIDE) -> list[int]:
    """Every M once, spread over the whole range first.

    Neighbouring Ms mostly share a kernel, so a coarse pass meets nearly all of them at once and
    the compilers have work while the fine passes confirm that nothing is left.
    """
    return [m for offset in range(stride) for m in ms[offset::stride]]


def split(shapes: Sequence[KernelShape], parts: int) -> list[list[Piece]]:
    """Deal (shape, M) pairs out to `parts` workers, equally many each, within one pair.

    A call costs about the same whatever its shape, because nothing is computed while kernels are
    only being found: equal counts are equal times. Each worker gets every parts-th M of every
    shape, so that small and large Ms are spread evenly too. Empty workers are left out.
    """
    if parts < 1:
        raise ValueError(f"parts must be at least 1, not {parts}")
    hands: list[list[Piece]] = [[] for _ in range(parts)]
    turn = 0
    for shape in shapes:
        ordered = coarse_first(list(shape.sweep))
        for reserved in shape.reserved_sms:
            for offset in range(parts):
                ms = tuple(ordered[offset::parts])
                if not ms:
                    continue
                hands[(turn + offset) % parts].append(
                    Piece(
                        shape.kernel_type,
                        shape.n,
                        shape.k,
                        shape.groups,
                        reserved,
                        shape.sweep.max_m,
                        ms,
                    )
                )
            # The remainder of an uneven deal moves on, so no worker collects them all.
            turn = (turn + len(ordered)) % parts
    return [hand for hand in hands if hand]


def workers_for(pairs: int, cores: int, pairs_each: int = 20_000) -> int:
    """How many finders are worth their start: a pair takes some tens of microseconds, a process
    with its own CUDA context a few seconds."""
    return max(1, min(cores, -(-pairs // pairs_each)))
