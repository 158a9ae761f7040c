"""Whether a point's figures may be believed, and why not. Pure. Times in seconds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, stdev

from launcher.measure.point import Point
from launcher.measure.record import Record

SHOWN = 3
STEADY = 0.2  # the halves of a point may differ by this share
STEADY_ERRORS = 3  # and by so many standard errors
LATE = 0.05  # the client's own delay against what it measures
LATE_FLOOR = 0.01
LIGHTER = 0.25  # aiperf's first token against a lighter client's
FULL = 0.95  # of the processor time that the client may have


@dataclass(frozen=True)
class Seen:
    """What was seen beside the requests.

    `served` counts the requests of each worker during the point, by group; `restarted` are the groups that were lost or
    started again, `ended` says why the job ended, if it did. Of the client: `lag` is the 90th percentile of the delay
    of a timer on its machine, `busy` the share of that machine's processors in use, `lighter` the median TTFT that the
    sweep's client reads at the same load. `queued` and `running` are means over the point, `kv_use` the largest share.
    """

    served: Mapping[str, int] = field(default_factory=dict)
    restarted: Sequence[str] = ()
    lag: float = 0.0
    busy: float | None = None
    lighter: float | None = None
    exit_status: int = 0
    ended: str | None = None
    queued: float | None = None
    running: float | None = None
    kv_use: float | None = None


def problems(point: Point, records: Sequence[Record], seen: Seen) -> list[str]:
    """Why the point is invalid; [] where it is valid."""
    good = [r for r in records if r.error is None]
    if not records:
        return [f"no request was sent (aiperf ended with exit status {seen.exit_status}; its aiperf.log says why)"]
    found = _failures(point, records, good)
    found += [f"{', '.join(seen.restarted)} was lost or started again meanwhile"] if seen.restarted else []
    found += [f"the job ended: {seen.ended}"] if seen.ended else []
    found += _unserved(good, seen)
    if good and not found:
        found += _unsteady(good)
    return found + _client(good, seen)


def _failures(point: Point, records: Sequence[Record], good: Sequence[Record]) -> list[str]:
    errors = Counter(r.error for r in records if r.error is not None)
    found = [f"{count} of {len(records)} requests failed: {error}" for error, count in errors.most_common(SHOWN)]
    if len(records) < point.requests:
        found.append(f"{len(records)} of {point.requests} requests were made")
    if empty := sum(r.output_tokens == 0 for r in good):
        found.append(f"{empty} answers without a token")
    if point.fixed_output is not None:
        wrong = [r.output_tokens for r in good if r.output_tokens not in (0, point.fixed_output)]
        if wrong:
            found.append(f"{len(wrong)} answers of another length than {point.fixed_output} tokens, such as {wrong[0]}")
        # The server's count of tokens may be that of a whole answer although an error ended the stream.
        usual = median([r.pieces for r in good] or [0])
        same = [r.pieces for r in good if r.output_tokens == point.fixed_output]
        if broken := [n for n in same if n < usual / 2]:
            pieces = f"{len(broken)} answers came in {min(broken)} to {max(broken)} pieces, most in {usual:g}"
            found.append(f"{pieces}: their streams ended early")
    return found


def _unserved(good: Sequence[Record], seen: Seen) -> list[str]:
    # With fewer, an even router may leave one out.
    if len(good) < 3 * len(seen.served):
        return []
    idle = [name for name, count in seen.served.items() if count == 0]
    return [f"{', '.join(idle)} served no request"] if idle else []


def _unsteady(good: Sequence[Record]) -> list[str]:
    ordered = sorted(good, key=lambda r: r.began)
    half = len(ordered) // 2
    found = []
    for what in ("ttft", "itl"):
        parts = []
        for part in (ordered[:half], ordered[half:]):
            values = [getattr(r, what) for r in part]
            parts.append([math.log(v) for v in values if v])
        if min(map(len, parts)) < 5:
            continue
        change = fmean(parts[1]) - fmean(parts[0])
        error = math.sqrt(sum(stdev(p) ** 2 / len(p) for p in parts))
        if abs(change) > max(math.log1p(STEADY), STEADY_ERRORS * error):
            before, after = (math.exp(fmean(p)) * 1000 for p in parts)
            found.append(f"not steady: {what.upper()} {before:.3g} ms in the first half, {after:.3g} ms in the second")
    return found


def _client(good: Sequence[Record], seen: Seen) -> list[str]:
    first = [r.ttft for r in good if r.ttft is not None]
    if not first:
        return []
    usual = median(first)
    allowed = max(LATE_FLOOR, LATE * usual)
    late = sorted(r.late for r in good)[math.ceil(0.9 * len(good)) - 1]
    why = []
    if late > allowed:
        why.append(f"it sent requests {late * 1000:.0f} ms late (90th percentile)")
    if seen.lag > allowed:
        why.append(f"timers on its machine are {seen.lag * 1000:.0f} ms late")
    # Alone it says nothing: the processors may do other work, which does not disturb.
    if why and seen.busy is not None and seen.busy > FULL:
        why.append(f"its machine's processors were {seen.busy:.0%} busy")
    if seen.lighter is not None and usual > seen.lighter * (1 + LIGHTER) + LATE_FLOOR:
        why.append(f"it read a first token after {usual * 1000:.0f} ms, a lighter client {seen.lighter * 1000:.0f} ms")
    return [f"the client was the limit: {'; '.join(why)}"] if why else []
