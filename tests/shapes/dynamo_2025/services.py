"""The three services of Dynamo's SGLang example of 2025 (ai-dynamo 0.3.2), without SGLang.

Dynamo's own HTTP server, NATS and etcd are real. What can go wrong between nodes goes wrong here too:
rank 0 of a worker listens at dist-init-addr and serves once every rank has joined; the prefill worker
has the decode worker answer, and each says which one it is.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from dynamo import sdk
from dynamo.sdk import async_on_start, depends, dynamo_context, endpoint, service
from dynamo.sdk.lib.config import ServiceConfig
from pydantic import BaseModel


class Request(BaseModel):
    """What of an OpenAI request matters here."""

    model: str
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


async def join(config: dict[str, Any]) -> None:
    """Returns on rank 0 when all ranks are there; on the others never. Losing one ends both."""
    rank, nnodes = config["node-rank"], config["nnodes"]
    host, port = config["dist-init-addr"].rsplit(":", 1)
    print(
        f"rank: group={os.environ['GROUP']} rank={rank} nnodes={nnodes} dist-init-addr={host}:{port} "
        f"host={os.uname().nodename} address={config['host']} gpus={os.environ.get('CUDA_VISIBLE_DEVICES')} "
        f"mark={os.environ.get('STANDIN_MARK')}",
        file=sys.stderr,
        flush=True,
    )
    if rank > 0:
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, port)
                break
            except OSError:
                await asyncio.sleep(0.2)
        writer.write(f"{rank}\n".encode())
        await reader.read()
        os._exit(1)
    ranks, all_there = {0}, asyncio.Event()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ranks.add(int(await reader.readline()))
        if len(ranks) == nnodes:
            all_there.set()
        await reader.read()
        os._exit(1)

    config["server"] = await asyncio.start_server(joined, host, int(port))
    if nnodes > 1:
        await all_there.wait()


@service(dynamo={"namespace": "dynamo"}, resources={"cpu": "1"}, workers=1)
class SGLangDecodeWorker:
    def __init__(self) -> None:
        self.config = ServiceConfig.get_instance()["SGLangDecodeWorker"]

    @async_on_start
    async def start(self) -> None:
        await join(self.config)

    @endpoint()
    async def generate(self, request: Request) -> AsyncIterator[dict[str, str]]:
        count = request.max_tokens or request.max_completion_tokens or 4
        for n in range(count):
            yield {"text": f"{os.environ['GROUP']} " if n == 0 else "word "}


@service(dynamo={"namespace": "dynamo"}, resources={"cpu": "1"}, workers=1)
class SGLangWorker:
    decode = depends(SGLangDecodeWorker)

    def __init__(self) -> None:
        self.config = ServiceConfig.get_instance()["SGLangWorker"]

    @async_on_start
    async def start(self) -> None:
        await join(self.config)
        if self.config.get("disaggregation-mode") == "prefill":
            namespace, name = SGLangDecodeWorker.dynamo_address()
            component = dynamo_context["runtime"].namespace(namespace).component(name)
            self.client = await component.endpoint("generate").client()

    @endpoint()
    async def generate(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        yield piece(request, f"{os.environ['GROUP']} ", None)
        async for part in await self.client.round_robin(request.model_dump_json()):
            yield piece(request, part.data()["text"], None)
        yield piece(request, "", "stop")


def piece(request: Request, text: str, finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}
    shape = {"id": "x", "object": "chat.completion.chunk", "created": int(time.time())}
    return {**shape, "model": request.model, "choices": [choice]}


@service(dynamo={"namespace": "dynamo"}, resources={"cpu": "1"}, workers=1)
class Frontend:
    worker = depends(SGLangWorker)

    def __init__(self) -> None:
        config = ServiceConfig.get_instance()["Frontend"]
        programs = Path(sdk.__file__).parent / "cli" / "bin"
        model = ("chat-models", config["served_model_name"])
        subprocess.run([programs / "llmctl", "http", "add", *model, config["endpoint"]], check=True)
        self.process = subprocess.Popen([programs / "http", "-p", str(config["port"])])
