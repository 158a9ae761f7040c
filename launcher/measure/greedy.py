"""The same prompts, greedy, through each worker: texts that part tell of a corrupt KV transfer or of other weights."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from warmup.requests.coverage import Worker
from warmup.requests.errors import http_error, network_error
from warmup.requests.prompts import WORDS
from warmup.requests.session import open_session
from warmup.requests.target import look

PROMPTS, TOKENS = 50, 32
SEED = 20_261_126
LIMIT = 300.0  # seconds for one answer


@dataclass(frozen=True)
class Access:
    """The key that an address asks for, and the file of the authority that vouches for it, where it has them."""

    key: str | None = field(default=None, repr=False)
    ca: str | None = None


@dataclass(frozen=True)
class Way:
    """How a request goes: to an address, and there through these workers (None: whichever the router takes)."""

    name: str
    url: str
    model: str
    prefill_id: int | None = None
    decode_id: int | None = None
    access: Access = Access()


@dataclass(frozen=True)
class Text:
    """An answer. `took` are the ids of the workers that it names."""

    text: str = ""
    error: str | None = None
    took: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True)
class Parted:
    """A prompt whose texts differ from the first way's, from character `at` on."""

    prompt: int
    at: int
    reference: str
    other: str


@dataclass(frozen=True)
class Compared:
    """A way against the first one. `errors` are answers that did not come back; `astray` counts the answers that
    came from other workers than were asked for."""

    way: str
    equal: int
    parted: tuple[Parted, ...] = ()
    errors: tuple[str, ...] = ()
    astray: int = 0

    def agrees(self, allowed: float) -> bool:
        """Whether at most a share `allowed` of the answers parted, and none failed."""
        count = self.equal + len(self.parted)
        return not self.errors and count > 0 and len(self.parted) <= allowed * count


def prompts(count: int = PROMPTS) -> list[str]:
    """Texts of 8 to 400 words, the same in every run."""
    chance = random.Random(SEED)
    return [" ".join(chance.choices(WORDS, k=round(8 * 50 ** (n / max(1, count - 1))))) for n in range(count)]


def ways_through(name: str, url: str, model: str, workers: Sequence[Worker], access: Access = Access()) -> list[Way]:
    """Each prefill worker with the first decode worker, and the first one with each other decode worker; or each
    aggregated worker. One way, of nobody's choice, where workers cannot be told apart."""
    known = [w for w in workers if w.instance_id is not None]
    prefill, decode, whole = ([w for w in known if w.role == role] for role in ("prefill", "decode", "agg"))
    found = [Way(f"{name} {w.name}", url, model, None, w.instance_id, access) for w in whole]
    if prefill and decode:
        pairs = [(p, decode[0]) for p in prefill] + [(prefill[0], d) for d in decode[1:]]
        found += [
            Way(f"{name} {p.name} > {d.name}", url, model, p.instance_id, d.instance_id, access) for p, d in pairs
        ]
    return found or [Way(name, url, model, access=access)]


async def ask_all(ways: Sequence[Way], texts: Sequence[str], tokens: int) -> list[list[Text]]:
    """Answers by way, in the order of the texts. One request of a way at a time: a batch's size may decide which of
    two equally likely tokens comes first."""

    async def one(way: Way) -> list[Text]:
        async with open_session(way.access.key, way.access.ca) as session:
            return [await _ask(session, way, text, tokens) for text in texts]

    return [await one(way) for way in ways]


async def _ask(session: Any, way: Way, text: str, tokens: int) -> Text:
    import aiohttp

    body: dict[str, Any] = {
        "model": way.model, "prompt": text, "max_tokens": tokens, "temperature": 0.0, "ignore_eos": True,
    }  # fmt: skip
    if way.prefill_id is not None or way.decode_id is not None:
        wish = {"prefill_worker_id": way.prefill_id, "decode_worker_id": way.decode_id}
        body["nvext"] = {"extra_fields": ["worker_id"], **{k: v for k, v in wish.items() if v is not None}}
    try:
        timeout = aiohttp.ClientTimeout(total=LIMIT)
        async with session.post(f"{way.url}/v1/completions", json=body, timeout=timeout) as answer:
            raw = await answer.read()
            if answer.status != 200:
                return Text(error=http_error(answer.status, raw, "/v1/completions"))
            found = await answer.json(content_type=None)
            said = str(found["choices"][0]["text"])
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        return Text(error=network_error(error, way.url, LIMIT))
    except (ValueError, LookupError, TypeError):
        return Text(error=f"{way.url} answered without a text")
    workers = ((found.get("nvext") or {}).get("worker_id") or {}) if isinstance(found, dict) else {}
    took = (workers.get("prefill_worker_id"), workers.get("decode_worker_id"))
    return Text(said, None if said else "an answer without a text", took)


def compare(ways: Sequence[Way], answers: Sequence[Sequence[Text]]) -> list[Compared]:
    """Each way against the first; the first against itself asked again, where it is given twice."""
    reference = answers[0]
    found = []
    for way, texts in zip(ways[1:], answers[1:], strict=True):
        parted, errors, equal, astray = [], [], 0, 0
        for number, (one, other) in enumerate(zip(reference, texts, strict=True)):
            if one.error or other.error:
                errors.append(f"prompt {number}: {other.error or f'{ways[0].name}: {one.error}'}")
                continue
            asked = zip((way.prefill_id, way.decode_id), other.took, strict=True)
            astray += any(a is not None and t is not None and a != t for a, t in asked)
            if one.text == other.text:
                equal += 1
            else:
                same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one.text, other.text, strict=False))
                at = sum(1 for _ in same)
                parted.append(Parted(number, at, one.text[at : at + 40], other.text[at : at + 40]))
        found.append(Compared(way.name, equal, tuple(parted), tuple(errors), astray))
    return found


async def workers_at(
    url: str, model: str | None, expected: Sequence[Worker] | None, access: Access = Access()
) -> tuple[str, Sequence[Worker]]:
    """The model and the workers that an address has, by the names of a plan where there is one. Raises NotServing."""
    from warmup.requests.coverage import make_roster

    async with open_session(access.key, access.ca) as session:
        target = await look(session, url, model)
    return target.model, make_roster(expected, target.instances).expected if target.instances else ()
