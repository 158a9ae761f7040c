"""The only place that speaks the deployment's completions API.

Works with a Dynamo frontend (which names the workers that served a request), a plain SGLang
server and the SGLang router. A request is prepared, sent and read in three steps, so that a round
can prepare all of its requests before the first is sent and read all answers after the last came:
what the event loop does in between is only to move bytes and look at the clock.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace

from .answer import Answer, read_stream
from .coverage import ANY, Steer
from .errors import http_error, network_error
from .prompts import Prompt, Prompts
from .wire import Exchange, Wire

COMPLETIONS = "/v1/completions"


@dataclass(frozen=True)
class Request:
    """A request ready to be sent. ``index`` is its place in its round."""

    data: bytes
    prompt: Prompt
    output_tokens: int
    index: int = 0


@dataclass
class Client:
    """Sends requests for one model over one wire. ``names_workers`` asks Dynamo for worker ids;
    others would call the field unknown."""

    wire: Wire
    base_url: str
    model: str
    names_workers: bool = False
    prompts: Prompts = field(default_factory=Prompts)

    def prepare(
        self,
        prompt_tokens: int,
        output_tokens: int,
        *,
        index: int = 0,
        steer: Steer = ANY,
        sampled: bool = False,
        cached: int = 0,
    ) -> Request:
        """A request of lengths in tokens; the first ``cached`` of its prompt are the same each
        time. ``sampled`` draws tokens at a temperature instead of taking the likeliest one: the
        two ways run different kernels, and a warm deployment has met both."""
        prompt = self.prompts.make(prompt_tokens, cached)
        body: dict[str, object] = {
            "model": self.model,
            "prompt": prompt.text,
            "max_tokens": output_tokens,
            "min_tokens": output_tokens,
            "ignore_eos": True,
            "temperature": 0.7 if sampled else 0.0,
            "top_p": 0.95 if sampled else 1.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.names_workers:
            extension: dict[str, object] = {"extra_fields": ["worker_id"]}
            if steer.prefill_id is not None:
                extension["prefill_worker_id"] = steer.prefill_id
            if steer.decode_id is not None:
                extension["decode_worker_id"] = steer.decode_id
            body["nvext"] = extension
        return Request(self.wire.post(COMPLETIONS, json.dumps(body).encode()), prompt, output_tokens, index)

    def read(self, request: Request, exchange: Exchange) -> Answer:
        """What came of a request that was sent."""
        reply, error = exchange.reply, exchange.error
        answer = Answer(request.index, reply.status, seconds=exchange.ended - (exchange.sent or exchange.ended))
        if reply.status == 200:
            answer = read_stream(exchange, request.output_tokens, request.index)
            if isinstance(error, asyncio.TimeoutError):
                said = f"{answer.output_tokens} of {request.output_tokens} tokens came"
                answer = replace(answer, error=f"no end within {self.wire.request_timeout:g} s: {said}")
            elif error is not None and answer.ok and not reply.complete:
                said = f"{answer.output_tokens} of {request.output_tokens} tokens"
                answer = replace(answer, error=f"the connection was lost after {said}")
        elif error is not None:
            answer = replace(answer, error=network_error(error, self.base_url, self.wire.request_timeout))
        else:
            answer = replace(answer, error=http_error(reply.status or 0, reply.body[:20_000], COMPLETIONS))
        self.prompts.learn(request.prompt, answer.prompt_tokens)
        return answer

    async def send(
        self, prompt_tokens: int, output_tokens: int, *, index: int = 0, steer: Steer = ANY, sampled: bool = False
    ) -> Answer:
        """All three steps for one request. Raises nothing but cancellation."""
        request = self.prepare(prompt_tokens, output_tokens, index=index, steer=steer, sampled=sampled)
        return self.read(request, await self.wire.exchange(request.data))
