"""One streaming request, timed. The only place that talks to the deployment's completions API.

Works with a Dynamo frontend (which names the workers that served a request), a plain SGLang
server and the SGLang router. All times are in seconds, on the monotonic clock.
"""

from __future__ import annotations

import asyncio
import errno
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .coverage import ANY, Steer
from .prompts import Prompts

if TYPE_CHECKING:
    import aiohttp

COMPLETIONS = "/v1/completions"


@dataclass(frozen=True)
class Answer:
    """What came of one request.

    ``error`` is None only for an answer that came back whole: status 200, no error inside the
    stream, all tokens asked for, and the end mark. ``ttft`` is from sending the request to its
    first token; ``itl`` the mean time between tokens; ``pause`` the longest gap between two
    pieces of the stream. ``index`` is the request's place in its round.
    """

    index: int = 0
    status: int | None = None
    error: str | None = None
    ttft: float | None = None
    itl: float | None = None
    pause: float | None = None
    seconds: float = 0.0
    prompt_tokens: int | None = None
    output_tokens: int = 0
    prefill_id: int | None = None
    decode_id: int | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


@dataclass
class Client:
    """Sends requests for one model to one base URL over one aiohttp session.

    ``names_workers`` asks Dynamo for worker ids; others would call the field unknown.
    ``request_timeout`` (seconds) bounds one whole request. It is long, because a first request
    may wait for a compilation of minutes, and the sweep has a limit of its own.
    """

    session: aiohttp.ClientSession
    base_url: str
    model: str
    names_workers: bool = False
    request_timeout: float = 900.0
    prompts: Prompts = field(default_factory=Prompts)

    async def send(
        self,
        prompt_tokens: int,
        output_tokens: int,
        *,
        index: int = 0,
        steer: Steer = ANY,
        sampled: bool = False,
    ) -> Answer:
        """Send one request and read its stream to the end. Raises nothing but cancellation.

        ``sampled`` draws tokens at a temperature instead of taking the likeliest one: the two
        ways run different kernels, and a warm deployment has met both.
        """
        sent_ids = not self.prompts.text
        answer = await self._send_once(prompt_tokens, output_tokens, index, steer, sampled)
        if sent_ids and _refuses_token_ids(answer):
            # Refused before any engine saw it, so nothing was warmed or timed by the first try.
            self.prompts.text = True
            answer = await self._send_once(prompt_tokens, output_tokens, index, steer, sampled)
        return answer

    async def _send_once(
        self, prompt_tokens: int, output_tokens: int, index: int, steer: Steer, sampled: bool
    ) -> Answer:
        import aiohttp

        prompt = self.prompts.make(prompt_tokens)
        stream = _Stream(index=index, wanted=output_tokens, began=time.monotonic())
        try:
            timeout = aiohttp.ClientTimeout(total=self.request_timeout, sock_connect=10)
            async with self.session.post(
                self.base_url + COMPLETIONS,
                json=self._body(prompt, output_tokens, steer, sampled),
                timeout=timeout,
            ) as response:
                stream.status = response.status
                if response.status != 200:
                    body = await response.content.read(20_000)
                    stream.error = http_error(response.status, body, COMPLETIONS)
                else:
                    async for piece in response.content.iter_any():
                        stream.take(piece)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            stream.error = stream.error or self._network_error(error, stream)
        answer = stream.finish()
        self.prompts.learn(prompt, answer.prompt_tokens)
        return answer

    def _body(self, prompt: list[int] | str, output_tokens: int, steer: Steer, sampled: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": output_tokens,
            "min_tokens": output_tokens,
            "ignore_eos": True,
            "temperature": 0.7 if sampled else 0.0,
            "top_p": 0.95 if sampled else 1.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.names_workers:
            extension: dict[str, Any] = {"extra_fields": ["worker_id"]}
            if steer.prefill_id is not None:
                extension["prefill_worker_id"] = steer.prefill_id
            if steer.decode_id is not None:
                extension["decode_worker_id"] = steer.decode_id
            body["nvext"] = extension
        return body

    def _network_error(self, error: BaseException, stream: _Stream) -> str:
        if isinstance(error, asyncio.TimeoutError) and stream.status is not None:
            return f"no end within {self.request_timeout:g} s: {stream.tokens} of {stream.wanted} tokens came"
        if stream.status == 200:
            return stream.cut()
        return network_error(error, self.base_url, self.request_timeout)


@dataclass
class _Stream:
    """Server-sent events taken apart as they come."""

    index: int
    wanted: int
    began: float
    status: int | None = None
    error: str | None = None
    tokens: int = 0
    first: float | None = None
    last: float | None = None
    pause: float | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    workers: dict[str, Any] = field(default_factory=dict)
    done: bool = False
    finished: bool = False
    rest: bytes = b""

    def take(self, piece: bytes) -> None:
        """Bytes as they arrived; a line may be spread over several pieces."""
        now = time.monotonic()
        *lines, self.rest = (self.rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip(), now)

    def _event(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        try:
            event = json.loads(data)
        except ValueError:
            self.error = self.error or f"the stream holds no JSON: {data[:120]!r}"
            return
        if not isinstance(event, dict):
            return
        if event.get("error") is not None or event.get("object") == "error":
            # Dynamo and SGLang both report a worker's death like this, under status 200.
            self.error = self.error or f"error inside the stream: {error_text(event)}"
            return
        self.usage = event.get("usage") or self.usage
        extension = event.get("nvext")
        if isinstance(extension, dict) and isinstance(extension.get("worker_id"), dict):
            self.workers = {**self.workers, **extension["worker_id"]}
        choices = event.get("choices")
        if not choices:
            return
        self.finished = self.finished or bool(choices[0].get("finish_reason"))
        if self.first is None:
            self.first = now
        elif self.last is not None:
            self.pause = max(self.pause or 0.0, now - self.last)
        # Dynamo ends with a piece that holds no token; the pauses do not mind, and the count is
        # only used where usage is missing.
        self.last = now
        self.tokens += 1

    def cut(self) -> str:
        return f"the stream was cut after {self.tokens} of {self.wanted} tokens"

    def finish(self) -> Answer:
        counted = self.usage.get("completion_tokens")
        output = counted if isinstance(counted, int) else min(self.tokens, self.wanted)
        prompt = self.usage.get("prompt_tokens")
        error = self.error
        if error is None:
            if self.first is None:
                error = "the stream ended without a token"
            elif not self.done and not self.finished:
                error = self.cut()
            elif output < self.wanted:
                error = f"the answer ended after {output} of {self.wanted} tokens"
        itl = None
        if self.first is not None and self.last is not None and output > 1:
            itl = (self.last - self.first) / (output - 1)
        return Answer(
            index=self.index,
            status=self.status,
            error=error,
            ttft=None if self.first is None else self.first - self.began,
            itl=itl,
            pause=self.pause,
            seconds=time.monotonic() - self.began,
            prompt_tokens=prompt if isinstance(prompt, int) else None,
            output_tokens=output,
            prefill_id=_id(self.workers.get("prefill_worker_id")),
            decode_id=_id(self.workers.get("decode_worker_id")),
        )


def http_error(status: int, body: bytes, path: str) -> str:
    """One line for an error answer, whichever of the servers' shapes it has."""
    text = body.decode("utf-8", "replace").strip()
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    said = error_text(parsed) if isinstance(parsed, dict) else " ".join(text.split())[:300]
    line = f"HTTP {status} from {path}"
    if said:
        line += f": {said}"
    elif status == 404:
        # Dynamo's frontend switches the route on with the first model.
        line += " with an empty body: no model is served there (yet)"
    return line


def error_text(event: dict[str, Any]) -> str:
    """The words in ``{"error": {"message"}}``, ``{"message"}`` or ``{"detail"}``."""
    inner = event.get("error")
    for source in (inner, event):
        if isinstance(source, str) and source:
            return source
        if isinstance(source, dict):
            for key in ("message", "detail"):
                if source.get(key):
                    said = source[key]
                    return said if isinstance(said, str) else json.dumps(said)[:300]
    return json.dumps(event)[:300]


def network_error(error: BaseException, base_url: str, timeout: float) -> str:
    """One line for a request that got no answer: what, where, and what to look at."""
    number = getattr(error, "errno", None) or getattr(getattr(error, "os_error", None), "errno", None)
    if number == errno.ECONNREFUSED:
        return (
            f"connection refused at {base_url}: nothing listens there; check the port, and whether the frontend is up"
        )
    if "ServerDisconnected" in type(error).__name__ or number == errno.ECONNRESET:
        return f"{base_url} closed the connection without an answer"
    if isinstance(error, asyncio.TimeoutError):
        return f"no answer from {base_url} within {timeout:g} s"
    if "DNS" in type(error).__name__:
        return f"the host of {base_url} is not known: check its name"
    return f"{base_url} cannot be reached: {error or type(error).__name__}"


def _refuses_token_ids(answer: Answer) -> bool:
    if answer.status not in (400, 422) or answer.error is None:
        return False
    said = answer.error.lower()
    return any(word in said for word in ("prompt", "untagged", "string", "deserialize", "vocab"))


def _id(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
