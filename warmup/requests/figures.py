"""From a round's answers to its figures. Pure; all times in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from .answer import Answer
from .coverage import Coverage
from .rule import RoundFigures


def round_figures(answers: Sequence[Answer], coverage: Coverage) -> RoundFigures:
    """The medians over all requests and over each worker's, and the extremes.

    Only answers that came back whole are measured. In a prefill/decode pair the time to first
    token is the prefill worker's figure as well as the decode worker's, since both had to be
    warm for it; the time between tokens is the decode worker's alone.
    """
    whole = [a for a in answers if a.ok]
    values: dict[str, float] = {}
    _put(values, "ttft", [a.ttft for a in whole])
    _put(values, "itl", [a.itl for a in whole])
    samples = {
        "slowest ttft": [a.ttft for a in whole if a.ttft is not None],
        "longest pause": [a.pause for a in whole if a.pause is not None],
    }
    values.update({name: max(found) for name, found in samples.items() if found})

    by_worker: dict[str, tuple[list[float | None], list[float | None]]] = {}
    roles: dict[str, str] = {}
    for answer in whole:
        workers = coverage.workers_of(answer.prefill_id, answer.decode_id)
        for worker in workers:
            roles[worker.name] = worker.role
            ttfts, itls = by_worker.setdefault(worker.name, ([], []))
            ttfts.append(answer.ttft)
            if worker.role != "prefill":
                itls.append(answer.itl)
    for name, (ttfts, itls) in by_worker.items():
        _put(values, f"ttft@{name}", ttfts)
        _put(values, f"itl@{name}", itls)
    return RoundFigures(values, len(answers), len(answers) - len(whole), samples, roles)


def first_ttfts(answers: Sequence[Answer], coverage: Coverage, concurrency: int) -> dict[str | None, float]:
    """Time to first token at the first meeting, by worker name, and under None for all.

    Taken over the first wave of ``concurrency`` requests that met the worker, so that it can be
    held against the later medians: later waves of the same round already find things compiled.
    """
    found: dict[str | None, float] = {}
    waves: dict[int, list[Answer]] = {}
    for answer in answers:
        if answer.ok and answer.ttft is not None:
            waves.setdefault(answer.index // max(1, concurrency), []).append(answer)
    for _, wave in sorted(waves.items()):
        groups: dict[str | None, list[float]] = {None: []}
        for answer in wave:
            assert answer.ttft is not None
            groups[None].append(answer.ttft)
            for worker in coverage.workers_of(answer.prefill_id, answer.decode_id):
                groups.setdefault(worker.name, []).append(answer.ttft)
        for name, ttfts in groups.items():
            if name not in found:
                found[name] = median(ttfts)
    return found


def _put(values: dict[str, float], name: str, found: Sequence[float | None]) -> None:
    present = [f for f in found if f is not None]
    if present:
        values[name] = median(present)
