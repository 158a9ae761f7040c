"""What came of one request, read out of its stream once nothing is being timed. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .errors import error_text
from .wire import Exchange


@dataclass(frozen=True)
class Answer:
    """What came of one request. Times in seconds.

    ``error`` is None only for an answer that came back whole: status 200, no error inside the
    stream, all tokens asked for, and the end mark. ``ttft`` is from the moment the request's last
    byte was handed to the system to the arrival of its first token; ``itl`` the mean time between
    tokens; ``pause`` the longest gap between two pieces of the stream. ``index`` is the request's
    place in its round.
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


def read_stream(exchange: Exchange, wanted: int, index: int) -> Answer:
    """Read an answer of status 200 that should hold ``wanted`` tokens. An ``error`` of the
    exchange itself is the caller's to tell."""
    stream = _Stream(wanted)
    for now, piece in exchange.reply.pieces:
        stream.take(piece, now)
    sent = exchange.ended if exchange.sent is None else exchange.sent
    output, error = stream.output, stream.judge()
    itl = None
    if stream.first is not None and stream.last is not None and output > 1:
        itl = (stream.last - stream.first) / (output - 1)
    prompt = stream.usage.get("prompt_tokens")
    return Answer(
        index=index,
        status=exchange.reply.status,
        error=error,
        ttft=None if stream.first is None else max(0.0, stream.first - sent),
        itl=itl,
        pause=stream.pause,
        seconds=max(0.0, exchange.ended - sent),
        prompt_tokens=prompt if isinstance(prompt, int) else None,
        output_tokens=output,
        prefill_id=_id(stream.workers.get("prefill_worker_id")),
        decode_id=_id(stream.workers.get("decode_worker_id")),
    )


@dataclass
class _Stream:
    """Server-sent events taken apart as they came."""

    wanted: int
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

    def take(self, piece: bytes, now: float) -> None:
        """Bytes that arrived at ``now``; a line may be spread over several pieces."""
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

    @property
    def output(self) -> int:
        counted = self.usage.get("completion_tokens")
        return counted if isinstance(counted, int) else min(self.tokens, self.wanted)

    def judge(self) -> str | None:
        """What is wrong with the stream; None when it is whole."""
        if self.error is not None:
            return self.error
        if self.first is None:
            return "the stream ended without a token"
        if not self.done and not self.finished:
            return f"the stream was cut after {self.tokens} of {self.wanted} tokens"
        if self.output < self.wanted:
            return f"the answer ended after {self.output} of {self.wanted} tokens"
        return None


def _id(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
