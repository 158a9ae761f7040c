"""What a deployment can take, as far as its flags or its server say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .flags import Flags

# What SGLang takes on an H100-class GPU when nothing is said; used when nothing is known.
DEFAULT_CHUNK = 8192
DEFAULT_DECODE_BATCH = 64

# From 8 on SGLang captures graphs 8 requests apart or more (_generate_cuda_graph_batch_sizes).
GRAPH_STEP = 8


@dataclass(frozen=True)
class Limits:
    """What the deployment can take; None or empty where it is not known.

    Token counts are in tokens, request counts in requests. ``chunked_prefill_size`` and
    ``max_running_requests`` are those of one worker, as SGLang's flags are; with data-parallel
    attention SGLang divides both over the ranks, and the CUDA graphs' batch is a rank's own.
    """

    chunked_prefill_size: int | None = None
    max_running_requests: int | None = None
    cuda_graph_bs: tuple[int, ...] = ()
    cuda_graph_max_bs: int | None = None
    context_length: int | None = None
    max_total_tokens: int | None = None
    """Tokens the KV cache of one decode worker holds."""
    prefill_workers: int = 1
    decode_workers: int = 1
    prefill_ranks: int = 1
    decode_ranks: int = 1
    page_size: int | None = None
    """Tokens of one page of the prefix cache; a cached prefix is a whole number of pages."""
    prefix_cache: bool | None = None
    """Whether prefill reuses the KV cache of a prefix that it has seen (SGLang's radix cache)."""

    @classmethod
    def from_args(
        cls,
        prefill: Mapping[str, Any],
        decode: Mapping[str, Any] | None = None,
        *,
        prefill_workers: int = 1,
        decode_workers: int = 1,
    ) -> Limits:
        """Read the limits out of SGLang's flags, under any name of flags.NAMES, with - or _.

        ``decode`` is left out for an aggregated deployment. A value that is not of its kind counts
        as unknown: SGLang judges flags, not we.
        """
        p = Flags(prefill)
        d = p if decode is None else Flags(decode)
        off = p.switch("disable-radix-cache")
        return cls(
            chunked_prefill_size=p.number("chunked-prefill-size"),
            max_running_requests=d.number("max-running-requests"),
            cuda_graph_bs=d.graph_batches,
            cuda_graph_max_bs=d.largest_graph,
            context_length=least(p.number("context-length"), d.number("context-length")),
            max_total_tokens=d.number("max-total-tokens"),
            prefill_workers=max(1, prefill_workers),
            decode_workers=max(1, decode_workers),
            prefill_ranks=p.attention_ranks,
            decode_ranks=d.attention_ranks,
            page_size=p.number("page-size"),
            prefix_cache=None if off is None else not off,
        )

    def filled(self, other: Limits) -> Limits:
        """These limits, with what they leave open taken from ``other``."""
        return replace(
            self,
            chunked_prefill_size=self.chunked_prefill_size or other.chunked_prefill_size,
            max_running_requests=self.max_running_requests or other.max_running_requests,
            cuda_graph_bs=self.cuda_graph_bs or other.cuda_graph_bs,
            cuda_graph_max_bs=self.cuda_graph_max_bs or other.cuda_graph_max_bs,
            context_length=self.context_length or other.context_length,
            max_total_tokens=self.max_total_tokens or other.max_total_tokens,
            page_size=self.page_size or other.page_size,
            prefix_cache=other.prefix_cache if self.prefix_cache is None else self.prefix_cache,
        )

    @property
    def chunk(self) -> int:
        """Tokens one prefill step takes on one rank."""
        return max(1, (self.chunked_prefill_size or DEFAULT_CHUNK) // self.prefill_ranks)

    @property
    def workers_each(self) -> int:
        """Requests in flight at which every worker has one: the least that the sweep sends, so
        that workers are met side by side and not one after another."""
        return max(self.prefill_workers, self.decode_workers)

    @property
    def ranks_each(self) -> int:
        """Requests in flight at which every rank has one: each is a process that loads its own
        kernels."""
        return max(self.prefill_workers * self.prefill_ranks, self.decode_workers * self.decode_ranks)

    @property
    def decode_top(self) -> int:
        """Requests in flight, over all decode workers, that fill the largest batch."""
        every = self.decode_workers * self.decode_ranks
        graph = self.cuda_graph_max_bs or max(self.cuda_graph_bs, default=None)
        most = None if self.max_running_requests is None else self.max_running_requests * self.decode_workers
        if graph is None:
            return most or DEFAULT_DECODE_BATCH * every
        return least(graph * every, most) or 1

    @property
    def decode_batches(self) -> tuple[int, ...]:
        """Requests in flight, over all decode workers, that reach each batch that the flags name."""
        every, total = self.decode_workers * self.decode_ranks, self.decode_top
        return tuple(sorted({1, total} | {bs * every for bs in self.cuda_graph_bs if bs * every <= total}))

    def decode_levels(self, top: int) -> tuple[int, ...]:
        """Requests in flight from ``top`` down to 1 that pass every batch for which a rank of
        decode can hold a CUDA graph: those that the flags list, else as SGLang spaces them."""
        every = self.decode_workers * self.decode_ranks
        batches = self.cuda_graph_bs
        if len(batches) <= 1:
            batches = (1, 2, 4, *range(GRAPH_STEP, top // every + 1, GRAPH_STEP))
        return tuple(sorted({1, top} | {b * every for b in batches if b * every < top}, reverse=True))


def least(one: int | None, other: int | None) -> int | None:
    """The smaller of two counts, of which either may be unknown."""
    return min((n for n in (one, other) if n is not None), default=None)
