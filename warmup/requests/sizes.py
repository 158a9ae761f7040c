"""Which requests to send: prompt length x concurrency x output length.

Sizes follow from what the deployment was started with. What has to be met once is every shape a
kernel is compiled or captured for: the prefill chunk from a few tokens up to a full one and more
than one, and the decode batch from one request up to the largest CUDA graph or the request limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# What SGLang takes on an H100-class GPU when nothing is said; used when nothing is known.
DEFAULT_CHUNK = 8192
DEFAULT_DECODE_BATCH = 64

SHORT_PROMPT = 32
SHORT_OUTPUT = 8
LONG_OUTPUT = 64


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

    @classmethod
    def from_args(
        cls,
        prefill: Mapping[str, Any],
        decode: Mapping[str, Any] | None = None,
        *,
        prefill_workers: int = 1,
        decode_workers: int = 1,
    ) -> Limits:
        """Read the limits out of SGLang's flags, by their long names with - or _.

        ``decode`` is left out for an aggregated deployment. A value that is no number (or, for
        cuda-graph-bs, no list of numbers) counts as unknown: SGLang judges flags, not we.
        """
        p = {str(k).replace("_", "-"): v for k, v in prefill.items()}
        d = p if decode is None else {str(k).replace("_", "-"): v for k, v in decode.items()}
        return cls(
            chunked_prefill_size=_positive(p.get("chunked-prefill-size")),
            max_running_requests=_positive(d.get("max-running-requests")),
            cuda_graph_bs=_positives(d.get("cuda-graph-bs")),
            cuda_graph_max_bs=_positive(d.get("cuda-graph-max-bs")),
            context_length=_least(_positive(p.get("context-length")), d.get("context-length")),
            max_total_tokens=_positive(d.get("max-total-tokens") or d.get("max-total-num-tokens")),
            prefill_workers=max(1, prefill_workers),
            decode_workers=max(1, decode_workers),
            prefill_ranks=_ranks(p),
            decode_ranks=_ranks(d),
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
        )

    @property
    def chunk(self) -> int:
        """Tokens one prefill step takes on one rank."""
        return max(1, (self.chunked_prefill_size or DEFAULT_CHUNK) // self.prefill_ranks)

    @property
    def decode_batches(self) -> tuple[int, ...]:
        """Requests in flight, over all decode workers, that reach each batch size worth meeting."""
        graphs = sorted(set(self.cuda_graph_bs))
        top = self.cuda_graph_max_bs or (graphs[-1] if graphs else None)
        every = self.decode_workers * self.decode_ranks
        most = self.max_running_requests
        if top is None and most is None:
            total = DEFAULT_DECODE_BATCH * self.decode_workers
        elif top is None:
            assert most is not None
            total = most * self.decode_workers
        else:
            total = top * every
            if most is not None:
                total = min(total, most * self.decode_workers)
        found = {1, total} | {bs * every for bs in graphs if bs * every <= total}
        return tuple(sorted(found))


@dataclass(frozen=True, order=True)
class Size:
    """One point of the sweep. Lengths are in tokens, concurrency in requests in flight."""

    prompt_tokens: int
    concurrency: int
    output_tokens: int

    @property
    def key(self) -> str:
        """A short stable name: ``p8192 c16 o64``."""
        return f"p{self.prompt_tokens} c{self.concurrency} o{self.output_tokens}"


@dataclass(frozen=True)
class Axes:
    """The three axes. An axis given by hand is taken as it is, crossed with the others."""

    prompts: tuple[int, ...] = ()
    concurrencies: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("prompts", "concurrencies", "outputs"):
            bad = [v for v in getattr(self, name) if v < 1]
            if bad:
                raise ValueError(f"{name}: {bad[0]} is below 1; give counts of 1 or more")


@dataclass(frozen=True)
class Sizing:
    """Bounds on the sweep, so that it ends: stated in the report when they cut something off."""

    axes: Axes = Axes()
    max_concurrency: int = 512
    max_prompt_tokens: int = 32_768
    max_round_tokens: int = 131_072
    """Prompt tokens of one wave, all requests together: a cross of the longest prompt with the
    highest concurrency would fill the KV cache and show queueing, not warmth."""


@dataclass(frozen=True)
class SizePlan:
    """The sizes in the order they are run, and what was left out and why."""

    sizes: tuple[Size, ...]
    notes: tuple[str, ...] = ()


def plan_sizes(limits: Limits, sizing: Sizing = Sizing()) -> SizePlan:
    """Lay out the sweep, small before large.

    Left to itself, long outputs go with every concurrency at the shortest prompt (the decode
    batches) and short outputs with every prompt length at three concurrencies (the prefill
    chunks). Axes given by hand are crossed in full. Every value of every axis that fits the
    context is met at least once. Never empty: with an absurdly small context the one size left
    is a prompt of one token and an output of one.
    """
    notes: list[str] = []
    axes = sizing.axes
    prompts = axes.prompts or _prompt_axis(limits, sizing, notes)
    concurrencies = axes.concurrencies or _concurrency_axis(limits, sizing, notes)
    outputs = axes.outputs or (SHORT_OUTPUT, LONG_OUTPUT)

    short = min(prompts)
    few = _spread(concurrencies, 3)
    by_hand = bool(axes.prompts or axes.concurrencies or axes.outputs)
    wanted: set[Size] = set()
    for prompt in prompts:
        for count in concurrencies:
            for output in outputs:
                if by_hand:
                    keep = True
                elif output == max(outputs):
                    keep = prompt == short
                else:
                    keep = count in few
                if keep:
                    wanted.add(Size(prompt, count, output))
    context = _least(limits.context_length, limits.max_total_tokens)
    fitted, too_long = _fit_context(wanted, context)
    if too_long:
        notes.append(f"{too_long} sizes shortened or dropped: prompt and output together must fit {context} tokens")
    # One full chunk on every prefill rank must fit, however many there are.
    wave = max(sizing.max_round_tokens, limits.chunk * limits.prefill_ranks * limits.prefill_workers)
    if limits.max_total_tokens is not None:
        wave = min(wave, limits.max_total_tokens * limits.decode_workers)
    affordable = {
        s
        for s in fitted
        # One request at a time always runs: it is how a length is met at all.
        if s.concurrency == 1
        or s.prompt_tokens * s.concurrency <= wave
        # and so does the shortest prompt: it is how a batch size is met at all.
        or s.prompt_tokens == min(f.prompt_tokens for f in fitted)
        or by_hand
    }
    if len(affordable) < len(fitted):
        notes.append(f"{len(fitted) - len(affordable)} sizes of more than {wave} prompt tokens at once left out")
    order = sorted(affordable, key=lambda s: (s.output_tokens, s.prompt_tokens, s.concurrency))
    return SizePlan(tuple(order), tuple(notes))


def _prompt_axis(limits: Limits, sizing: Sizing, notes: list[str]) -> tuple[int, ...]:
    chunk = limits.chunk
    wanted = {min(SHORT_PROMPT, chunk), max(1, chunk // 8), chunk}
    if limits.chunked_prefill_size is not None or limits.context_length is not None:
        # A prompt of several chunks; only where something tells that it will be taken.
        wanted.add(2 * chunk)
    kept = {min(p, sizing.max_prompt_tokens) for p in wanted}
    if kept != wanted:
        notes.append(f"prompts held at {sizing.max_prompt_tokens} tokens; two full chunks would be {2 * chunk}")
    return tuple(sorted(kept))


def _concurrency_axis(limits: Limits, sizing: Sizing, notes: list[str]) -> tuple[int, ...]:
    batches = limits.decode_batches
    top = batches[-1]
    if top > sizing.max_concurrency:
        notes.append(f"concurrency held at {sizing.max_concurrency}; the deployment takes {top}")
        batches = (*(b for b in batches if b < sizing.max_concurrency), sizing.max_concurrency)
        top = sizing.max_concurrency
    if len(batches) <= 2:
        batches = (1, *(2**e for e in range(2, 20, 2) if 1 < 2**e < top), top)
    return _spread(tuple(sorted(set(batches))), 6)


def _spread(values: tuple[int, ...], most: int) -> tuple[int, ...]:
    """At most ``most`` of the values, first and last among them, evenly by rank."""
    ordered = tuple(sorted(set(values)))
    if len(ordered) <= most:
        return ordered
    picks = {round(i * (len(ordered) - 1) / (most - 1)) for i in range(most)}
    return tuple(ordered[i] for i in sorted(picks))


def _fit_context(sizes: set[Size], context: int | None) -> tuple[set[Size], int]:
    """Shorten what does not fit; the second value counts the sizes that had to change."""
    if context is None:
        return set(sizes), 0
    # SGLang refuses a prompt that leaves no room for its output; one token is kept as slack.
    room = max(2, context - 1)
    fitted: set[Size] = set()
    changed = 0
    for size in sizes:
        output = max(1, min(size.output_tokens, room // 2))
        prompt = max(1, min(size.prompt_tokens, room - output))
        new = Size(prompt, size.concurrency, output)
        changed += new != size
        fitted.add(new)
    return fitted, changed


def _positive(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if number > 0 else None


def _positives(value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if isinstance(value, (int, float)):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return ()
    numbers = [_positive(v) for v in value]
    return tuple(sorted({n for n in numbers if n is not None}))


def _least(one: int | None, other: Any) -> int | None:
    found = [n for n in (one, _positive(other)) if n is not None]
    return min(found) if found else None


def _ranks(args: Mapping[str, Any]) -> int:
    """Data-parallel attention ranks of one worker; 1 without it."""
    attention = args.get("enable-dp-attention")
    if attention in (None, False, "false"):
        return 1
    return _positive(args.get("dp-size", args.get("dp"))) or 1
