"""Learning shapes from SGLang's own log, for models that shapes.py does not compute.

SGLang writes one line for every (kernel type, N, K, num_groups) at the moment it meets it. The
Ms are not in that line; they follow from the version and the chunked-prefill size, which the log
states where it prints its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from .manifest import KERNEL_TYPES, KernelShape, Manifest, ManifestError
from .mlist import default_chunked_prefill, rules_for, sweep_for

SHAPE = re.compile(
    r"Try DeepGEMM JIT Compiling for\s+<(?P<type>\w+)>\s+"
    r"N=(?P<n>\d+),\s*K=(?P<k>\d+),\s*num_groups=(?P<groups>\d+)"
)
ADJUSTED = re.compile(r"chunked prefill size is adjusted from -?\d+ to (-?\d+)")
ARGUMENT = re.compile(r"\bchunked_prefill_size=(-?\d+)")
PROGRESS = re.compile(r"DeepGEMM warmup:\s+\d+%\|[^|]*\|\s*\d+/(\d+)")
ROLE = re.compile(r"\bdisaggregation_mode='(\w+)'")


def learn(
    lines: Iterable[str],
    *,
    where: str = "log",
    role: str | None = None,
    sglang: str | None = None,
    chunked_prefill: int | None = None,
    fast: bool = False,
    gpu_memory_gib: float = 80.0,
) -> Manifest:
    """The shapes that a log names, in the order in which they were met, without repeats.

    chunked_prefill: tokens of one data-parallel rank; None takes it from the log, else SGLang's
    default for gpu_memory_gib. fast: SGLANG_JIT_DEEPGEMM_FAST_WARMUP was on. Raises ManifestError
    naming `where` when the log names no shape.
    """
    found: dict[tuple[str, int, int, int], None] = {}
    stated: int | None = None
    adjusted: int | None = None
    counts: set[int] = set()
    met_role = role
    unknown: set[str] = set()
    for line in lines:
        if match := SHAPE.search(line):
            if match["type"] not in KERNEL_TYPES:
                unknown.add(match["type"])
                continue
            key = (match["type"], int(match["n"]), int(match["k"]), int(match["groups"]))
            found.setdefault(key)
        elif match := ADJUSTED.search(line):
            adjusted = int(match[1])
        elif match := ARGUMENT.search(line):
            stated = stated if stated is not None else int(match[1])
            if met_role is None and (mode := ROLE.search(line)):
                met_role = {"null": "aggregated"}.get(mode[1], mode[1])
        counts.update(int(number) for number in PROGRESS.findall(line))
    if not found:
        raise ManifestError(
            f"{where}: no 'Try DeepGEMM JIT Compiling' line; it must be the log of a server that "
            "answered a request with SGLANG_JIT_DEEPGEMM_PRECOMPILE on and log level info"
        )
    rules = rules_for(sglang)
    chunk = next(
        (value for value in (chunked_prefill, adjusted, stated) if value is not None),
        default_chunked_prefill(rules, gpu_memory_gib),
    )
    sweep = sweep_for(rules, chunk, fast)
    aligned = sweep.multiples_of(rules["contiguous_alignment"])
    notes = [f"learned from {where}; Ms follow from a chunked prefill of {chunk} tokens a rank"]
    if counts - {len(sweep), len(aligned)}:
        notes.append(
            f"the log's own sweeps had {', '.join(map(str, sorted(counts)))} Ms, the computed list "
            f"has {len(sweep)} ({len(aligned)} contiguous): give the version and the chunk size"
        )
    notes.extend(f"kernel type {name} is not known here and was left out" for name in unknown)
    shapes = tuple(
        KernelShape(met_role or "log", "learned", *key, sweep=aligned if "CONTIG" in key[0] else sweep) for key in found
    )
    return Manifest(shapes, sglang=sglang, source="log", notes=tuple(notes))


def learn_file(path: Path, **options: object) -> Manifest:
    """Learn from a file. Raises ManifestError when it cannot be read or names no shape."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            # tqdm redraws its bar with carriage returns, which make one very long line.
            pieces = (piece for line in lines for piece in line.split("\r"))
            return learn(pieces, where=str(path), **options)  # type: ignore[arg-type]
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
