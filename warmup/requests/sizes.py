"""Which requests to send: prompt length x concurrency x output length.

Sizes follow from what the deployment was started with. What has to be met is every shape that a
kernel is compiled or captured for, as users will meet it: prompts from one token over the border of
a prefill chunk, prompts with a prefix that is cached, full prefill batches, decode batches from one
request up to the largest CUDA graph or the request limit, and long answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .limits import Limits, least

SHORT_PROMPTS = (1, 16, 48)
"""Tokens. The short chat turns that follow a sweep of long prompts were the slow ones."""
USUAL_PROMPT = 48
SHORT_OUTPUT, USUAL_OUTPUT, LONG_OUTPUT = 8, 32, 256
SHORT_PREFIX = 32
"""Tokens of a short cached prefix: two pages of 16, the size at which a first hit was seen to compile."""
STEPS_EACH = 2
"""Decode steps that a ramp stays at each batch."""


@dataclass(frozen=True, order=True)
class Size:
    """One point of the sweep. Lengths are in tokens, concurrency in requests in flight."""

    prompt_tokens: int
    concurrency: int
    output_tokens: int
    """With ``levels``: of the request that ends last."""
    cached_tokens: int = 0
    """Of the prompt's first tokens, those that a request before had in common with it."""
    levels: tuple[int, ...] = ()
    """Falling numbers of requests in flight: a wave whose answers end one group after another, so
    that decode passes through every batch."""
    passing: bool = False
    """Run to have been met and to show no stall, not to compare times, which would take minutes."""

    @property
    def key(self) -> str:
        """A short stable name: ``p8192 c16 o64``, ``p48 c1 o8 cached 32``, ``p48 c512 o80 ramp``."""
        name = f"p{self.prompt_tokens} c{self.concurrency} o{self.output_tokens}"
        if self.cached_tokens:
            name += f" cached {self.cached_tokens}"
        return f"{name} ramp" if self.levels else name

    def output_of(self, index: int) -> int:
        """Tokens to ask for in the wave's request ``index``."""
        if not self.levels:
            return self.output_tokens
        place = index % self.concurrency
        # Alive after group j are levels[j + 1]; the last group stays to the end.
        later = sum(place < level for level in self.levels[1:])
        return max(1, self.output_tokens - STEPS_EACH * (len(self.levels) - 1 - later))


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

    @property
    def given(self) -> bool:
        """Whether any axis was given by hand."""
        return bool(self.prompts or self.concurrencies or self.outputs)


@dataclass(frozen=True)
class Sizing:
    """Bounds on the sweep, so that it ends: stated in the report when they cut something off."""

    axes: Axes = Axes()
    max_concurrency: int = 1024
    """Requests in flight whose times are compared."""
    max_ramp: int = 8192
    """Requests in flight of the one wave that fills decode's largest batch."""
    max_prompt_tokens: int = 32_768
    max_round_tokens: int = 65_536
    """Prompt tokens of one wave, all requests together: a cross of the longest prompt with the
    highest concurrency would fill the KV cache and show queueing, not warmth."""
    compare: bool = True
    """Whether sizes are repeated until their times are steady; else each is only met."""


@dataclass(frozen=True)
class SizePlan:
    """The sizes in the order they are run, and what was left out and why."""

    sizes: tuple[Size, ...]
    notes: tuple[str, ...] = ()


def plan_sizes(limits: Limits, sizing: Sizing = Sizing()) -> SizePlan:
    """Lay out the sweep, small before large.

    Left to itself, every prompt length goes with one request for each worker and with as many as
    fill a prefill wave; the usual prompt goes with the concurrencies of decode, with a ramp
    through every batch, and with a long answer; cached prefixes where there is a prefix cache.
    Axes given by hand are crossed in full. Never empty: with an absurdly small context the one
    size left is a prompt of one token and an output of one.
    """
    notes: list[str] = []
    wanted = _crossed(limits, sizing, notes) if sizing.axes.given else _automatic(limits, sizing, notes)
    context = least(limits.context_length, limits.max_total_tokens)
    fitted, changed = _fit_context(wanted, context)
    if changed:
        notes.append(f"{changed} sizes shortened or dropped: prompt and output together must fit {context} tokens")
    if not sizing.compare:
        fitted = {replace(s, passing=True) for s in fitted}
    # Shortened to the same, the one whose times are compared stays.
    fitted = set({s.key: s for s in sorted(fitted, key=lambda s: -s.passing)}.values())
    order = sorted(fitted, key=lambda s: (s.passing, s.output_tokens, s.cached_tokens, s))
    return SizePlan(tuple(order), tuple(notes))


def _crossed(limits: Limits, sizing: Sizing, notes: list[str]) -> set[Size]:
    axes = sizing.axes
    prompts = axes.prompts or tuple(sorted({min(USUAL_PROMPT, limits.chunk), limits.chunk // 8 or 1, limits.chunk}))
    concurrencies = axes.concurrencies or _concurrencies(limits, sizing, notes)
    raised = sorted({max(limits.workers_each, c) for c in concurrencies})
    if min(concurrencies) < limits.workers_each:
        notes.append(f"concurrency raised to {limits.workers_each}: one request for each worker, side by side")
    outputs = axes.outputs or (SHORT_OUTPUT, USUAL_OUTPUT)
    return {Size(p, c, o) for p in prompts for c in raised for o in outputs}


def _automatic(limits: Limits, sizing: Sizing, notes: list[str]) -> set[Size]:
    chunk = limits.chunk
    usual = min(USUAL_PROMPT, chunk)
    concurrencies = _concurrencies(limits, sizing, notes)
    each, top = concurrencies[0], concurrencies[-1]
    # One full chunk on every prefill rank must fit, however many there are.
    wave = max(sizing.max_round_tokens, chunk * limits.prefill_ranks * limits.prefill_workers)
    if limits.max_total_tokens is not None:
        wave = min(wave, limits.max_total_tokens * limits.decode_workers)

    def at_once(prompt: int, count: int) -> int:
        return max(limits.workers_each, min(count, wave // prompt))

    wanted: set[Size] = set()
    for prompt in _prompts(limits, sizing, notes):
        wanted.add(Size(prompt, at_once(prompt, each), SHORT_OUTPUT))
        if usual < prompt <= chunk:
            wanted.add(Size(prompt, at_once(prompt, top), SHORT_OUTPUT))
    if limits.prefix_cache is not False:
        for prompt, prefix in _cached(limits, min(sizing.max_prompt_tokens, chunk)):
            counts = (each, min(top, 8 * each)) if prompt <= 2 * USUAL_PROMPT else (each,)
            wanted |= {Size(prompt, at_once(prompt, n), SHORT_OUTPUT, prefix) for n in counts}
    wanted |= {Size(usual, at_once(usual, n), USUAL_OUTPUT) for n in concurrencies}
    wanted.add(Size(usual, at_once(usual, each), LONG_OUTPUT, passing=True))
    wanted |= _ramp(limits, sizing, usual, notes)
    return wanted


def _prompts(limits: Limits, sizing: Sizing, notes: list[str]) -> tuple[int, ...]:
    chunk, most = limits.chunk, sizing.max_prompt_tokens
    wanted = {min(p, chunk) for p in SHORT_PROMPTS} | {max(1, chunk // 8), chunk}
    if limits.chunked_prefill_size is not None or limits.context_length is not None:
        # Past the border of a chunk; only where something tells that it will be taken.
        wanted |= {chunk + USUAL_PROMPT, 2 * chunk}
    border = chunk + USUAL_PROMPT if chunk <= most else 0
    kept = {p if p == border else min(p, most) for p in wanted}
    if kept != wanted:
        notes.append(f"prompts held at {most} tokens; two full chunks would be {2 * chunk}")
    return tuple(sorted(kept))


def _concurrencies(limits: Limits, sizing: Sizing, notes: list[str]) -> tuple[int, ...]:
    """At most four, from one request for each rank to the largest batch."""
    most = max(sizing.max_concurrency, limits.workers_each)
    each, top = min(limits.ranks_each, most), max(limits.decode_top, limits.workers_each)
    if not (limits.cuda_graph_bs or limits.cuda_graph_max_bs or limits.max_running_requests):
        notes.append(f"nothing says how many requests decode takes at once: {top} assumed (--concurrency sets it)")
    if top > most:
        notes.append(f"concurrency held at {most} where times are compared; decode takes {top}")
        top = most
    each = min(each, top)
    return _spread((each, *(each * 4**e for e in range(1, 10) if each * 4**e < top), top), 4)


def _cached(limits: Limits, longest: int) -> set[tuple[int, int]]:
    """Lengths of prompts and of their cached prefixes, which are whole pages."""
    page = limits.page_size or 1
    pairs = ((SHORT_PREFIX, 16), (longest // 2, USUAL_PROMPT))
    whole = ((-(-prefix // page) * page, fresh) for prefix, fresh in pairs)
    return {(prefix + fresh, prefix) for prefix, fresh in whole if prefix and prefix + fresh <= longest}


def _ramp(limits: Limits, sizing: Sizing, prompt: int, notes: list[str]) -> set[Size]:
    top = min(limits.decode_top, sizing.max_ramp)
    if top < limits.decode_top:
        notes.append(f"decode batches are met up to {top} requests in flight; the largest takes {limits.decode_top}")
    levels = _spread(limits.decode_levels(top), 64)
    output = SHORT_OUTPUT + STEPS_EACH * (len(levels) - 1)
    if limits.max_total_tokens is not None:
        top = min(top, max(1, limits.max_total_tokens * limits.decode_workers // (prompt + output)))
    levels = tuple(sorted({top, *(n for n in levels if n < top)}, reverse=True))
    return {Size(prompt, top, output, levels=levels, passing=True)} if len(levels) > 1 else set()


def _spread(values: tuple[int, ...], most: int) -> tuple[int, ...]:
    """At most ``most`` of the values, first and last among them, evenly by rank."""
    ordered = tuple(dict.fromkeys(values))
    if len(ordered) <= most:
        return ordered
    picks = {round(i * (len(ordered) - 1) / (most - 1)) for i in range(most)}
    return tuple(ordered[i] for i in sorted(picks))


def _fit_context(sizes: set[Size], context: int | None) -> tuple[set[Size], int]:
    """Shorten what does not fit; the second value counts the sizes that had to change."""
    if context is None:
        return set(sizes), 0
    # SGLang refuses a prompt that leaves no room for its output; one token is kept as slack, a
    # few where there are many, since a text's tokens are counted by the server.
    room = max(2, context - (8 if context > 256 else 1))
    fitted: set[Size] = set()
    changed = 0
    for size in sizes:
        output = max(1, min(size.output_tokens, room // 2))
        prompt = max(1, min(size.prompt_tokens, room - output))
        changed += (prompt, output) != (size.prompt_tokens, size.output_tokens)
        if size.cached_tokens < prompt:
            fitted.add(replace(size, prompt_tokens=prompt, output_tokens=output))
    return fitted, changed
