"""What aiperf wrote about each request, and the figures of a point. Pure but for the reading. Times in seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Record:
    """One request. `began` and `ended` are seconds since the epoch; `late` is how long the client took to send it
    after its turn had come; `error` is None for a whole answer; `pieces` are those that it came in (0: unknown)."""

    began: float
    ended: float
    late: float = 0.0
    error: str | None = None
    ttft: float | None = None
    itl: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    pieces: int = 0

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def read_records(file: Path) -> list[Record]:
    """aiperf's profile_export.jsonl, without its warm-up's requests; [] where there is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = [json.loads(line) for line in lines if line.strip()]
    return [_record(r) for r in found if r["metadata"].get("benchmark_phase", "profiling") == "profiling"]


def _record(raw: Mapping[str, Any]) -> Record:
    meta, metrics, error = raw["metadata"], raw.get("metrics") or {}, raw.get("error")

    def value(name: str) -> float | None:
        found = metrics.get(name)
        return found.get("value") if isinstance(found, dict) else None

    def seconds(name: str) -> float | None:
        found = value(name)
        return None if found is None else found / 1000

    start = meta["request_start_ns"]
    said = None
    if error:
        said = _error(error) if isinstance(error, dict) else str(error)
    elif meta.get("was_cancelled"):
        said = "cancelled"
    return Record(
        began=start / 1e9,
        ended=meta["request_end_ns"] / 1e9,
        late=max(0, start - (meta.get("credit_issued_ns") or start)) / 1e9,
        error=said,
        ttft=seconds("time_to_first_token"),
        itl=seconds("inter_token_latency"),
        prompt_tokens=int(value("usage_prompt_tokens") or value("input_sequence_length") or 0),
        output_tokens=int(value("usage_completion_tokens") or value("output_sequence_length") or 0),
        pieces=int(value("http_req_chunks_received") or 0),
    )


def _error(error: Mapping[str, Any]) -> str:
    """One line: the cause where aiperf names one, else its message."""
    text = str(error.get("cause") or error.get("message") or error.get("type"))
    if "No responses with actual content" in text:
        return "an answer without a token"
    status = f"HTTP {error['code']}: " if isinstance(error.get("code"), int) else ""
    return f"{status}{' '.join(text.split())[:200]}"


@dataclass(frozen=True)
class Slo:
    """What a request must keep to count for goodput: seconds; None: no limit."""

    ttft: float | None = None
    itl: float | None = None
    e2e: float | None = None

    def kept(self, record: Record) -> bool:
        pairs = ((self.ttft, record.ttft), (self.itl, record.itl), (self.e2e, record.seconds))
        return all(limit is None or (value is not None and value <= limit) for limit, value in pairs)


@dataclass(frozen=True)
class Figures:
    """Of one point. Throughput in tokens a second: all together, for each GPU, for each user (1 / median ITL).

    `goodput` is in requests a second, None without an SLO; `ttft`, `itl` and `e2e` are seconds by percentile.
    """

    requests: int
    failed: int
    seconds: float
    request_rate: float
    output_rate: float
    output_rate_gpu: float | None
    output_rate_user: float | None
    goodput: float | None
    ttft: Mapping[int, float]
    itl: Mapping[int, float]
    e2e: Mapping[int, float]


def figures(records: Sequence[Record], gpus: int | None, slo: Slo | None = None) -> Figures:
    """From the first request sent to the last answer's end."""
    good = [r for r in records if r.error is None]
    seconds = max((r.ended for r in good), default=0.0) - min((r.began for r in good), default=0.0)
    rate = (lambda count: count / seconds) if seconds > 0 else (lambda _count: 0.0)
    output = rate(sum(r.output_tokens for r in good))
    itl = percentiles([r.itl for r in good if r.itl is not None])
    return Figures(
        requests=len(records),
        failed=len(records) - len(good),
        seconds=seconds,
        request_rate=rate(len(good)),
        output_rate=output,
        output_rate_gpu=output / gpus if gpus else None,
        output_rate_user=1 / itl[50] if itl.get(50) else None,
        goodput=None if slo is None else rate(sum(map(slo.kept, good))),
        ttft=percentiles([r.ttft for r in good if r.ttft is not None]),
        itl=itl,
        e2e=percentiles([r.seconds for r in good]),
    )


def percentiles(values: Sequence[float]) -> dict[int, float]:
    """Nearest rank; {} for no values."""
    ordered = sorted(values)
    return {p: ordered[max(0, math.ceil(p / 100 * len(ordered)) - 1)] for p in PERCENTILES} if ordered else {}
