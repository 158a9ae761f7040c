"""The Prometheus text of servers: read, and asked for side by side."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from launcher.run.targets import Target

TIMEOUT = 3.0  # seconds; the text is made from memory
_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?$")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """One line: a name, its labels and its value."""

    name: str
    labels: Mapping[str, str]
    value: float


class Metrics:
    """The samples of one server at one moment."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._by_name: dict[str, list[Sample]] = {}
        for sample in samples:
            self._by_name.setdefault(sample.name, []).append(sample)

    @classmethod
    def parse(cls, text: str) -> Metrics:
        """Lines that are no samples are left out: a metric that cannot be read is one that is not there."""
        found = []
        for line in text.splitlines():
            if line.startswith("#") or (match := _LINE.match(line.strip())) is None:
                continue
            try:
                value = float(match[3])
            except ValueError:
                continue
            found.append(Sample(match[1], dict(_LABEL.findall(match[2] or "")), value))
        return cls(found)

    def total(self, name: str, **labels: str) -> float | None:
        """The sum over all samples with these labels; None where there is none."""
        found = self._values(name, labels)
        return sum(found) if found else None

    def largest(self, name: str, **labels: str) -> float | None:
        return max(self._values(name, labels), default=None)

    def mean(self, name: str, **labels: str) -> float | None:
        found = self._values(name, labels)
        return sum(found) / len(found) if found else None

    def first_total(self, *names: str) -> float | None:
        """The sum of the first of several names that is there: engines and releases differ."""
        return next((v for name in names if (v := self.total(name)) is not None), None)

    def _values(self, name: str, labels: Mapping[str, str]) -> list[float]:
        samples = self._by_name.get(name, ())
        return [s.value for s in samples if all(s.labels.get(k) == v for k, v in labels.items())]


async def scrape(targets: Sequence[Target]) -> dict[str, Metrics | None]:
    """Metrics by name of server, all asked at once; None for one that does not answer with a text within TIMEOUT."""
    import aiohttp

    from warmup.requests.session import open_session

    async def one(target: Target) -> Metrics | None:
        headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        try:
            async with session.get(target.url, headers=headers, timeout=timeout) as answer:
                return Metrics.parse(await answer.text(errors="replace")) if answer.status == 200 else None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
            return None

    async with open_session(None, next((t.ca for t in targets if t.ca), None)) as session:
        found = await asyncio.gather(*map(one, targets))
    return dict(zip((t.name for t in targets), found, strict=True))
