"""`python -m sglang.launch_server` without a model.

What can go wrong between nodes goes wrong here too: rank 0 listens at dist-init-addr and is healthy
once every rank has joined; a prefill server listens at its bootstrap port; a decode server answers a
request only if it reached the bootstrap server that the router named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("config", "model-path", "served-model-name", "dist-init-addr", "host"):
        parser.add_argument(f"--{name}")
    for name in ("nnodes", "node-rank", "port", "nccl-port", "disaggregation-bootstrap-port", "tp-size", "page-size"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--disaggregation-transfer-backend")
    parser.add_argument("--disaggregation-mode", choices=["prefill", "decode"])
    return parser.parse_args()


def guard(file: str) -> Any:
    """Who has not the key of SGLang's --config is told nothing but health, as SGLang does."""
    with open(file) as flags:
        key = flags.read().partition("api-key: ")[2].strip()

    @web.middleware
    async def asks(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path != "/health" and request.headers.get("Authorization") != f"Bearer {key}":
            raise web.HTTPUnauthorized
        return await handler(request)

    return asks


class Server:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.ranks = {0}

    async def joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        rank = int(await reader.readline())
        if rank in self.ranks:
            print(f"refused a second rank {rank}", file=sys.stderr)
        self.ranks.add(rank)
        await reader.read()
        print(f"rank {rank} left", file=sys.stderr)
        os._exit(1)

    async def health(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if len(self.ranks) == self.args.nnodes else 503)

    async def models(self, request: web.Request) -> web.Response:
        entry = {"id": self.args.served_model_name, "object": "model", "owned_by": "sglang", "max_model_len": 4096}
        return web.json_response({"object": "list", "data": [entry]})

    async def info(self, request: web.Request) -> web.Response:
        named = {"model_path": self.args.model_path, "served_model_name": self.args.served_model_name}
        return web.json_response({**named, "tp_size": self.args.tp_size, "dp_size": 1, "is_generation": True})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body: dict[str, Any] = await request.json()
        if not isinstance(body.get("prompt", ""), str):
            return web.json_response({"message": "prompt: token ids are not taken"}, status=400)
        group, met = os.environ["GROUP"], ""
        if self.args.disaggregation_mode == "decode":
            host, port = body["bootstrap_host"], body["bootstrap_port"]
            reader, writer = await asyncio.open_connection(host, port)
            met = (await reader.readline()).decode().strip()
            writer.close()
        count = int(body.get("max_tokens") or 4)
        words = [f"{met or group} ", f"{group} ", *("word " for _ in range(count - 2))]
        if not body.get("stream"):
            return web.json_response({**self.piece(request, body, "".join(words), "stop"), "usage": usage(count)})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async for piece in self.pieces(request, body, words):
            await response.write(b"data: " + piece + b"\n\n")
        return response

    async def pieces(self, request: web.Request, body: dict[str, Any], words: list[str]) -> AsyncIterator[bytes]:
        for n, word in enumerate(words):
            piece = self.piece(request, body, word, "stop" if n == len(words) - 1 else None)
            yield json.dumps({**piece, "usage": usage(n + 1)}).encode()
            await asyncio.sleep(0.002)
        yield b"[DONE]"

    def piece(self, request: web.Request, body: dict[str, Any], text: str, finish: str | None) -> dict[str, Any]:
        said = {"role": "assistant", "content": text}
        chat = {"delta": said, "message": said} if "chat" in request.path else {"text": text}
        choice = {"index": 0, "finish_reason": finish, **chat}
        return {"id": "x", "object": "c", "created": int(time.time()), "model": body["model"], "choices": [choice]}


def usage(count: int) -> dict[str, int]:
    return {"prompt_tokens": 8, "completion_tokens": count, "total_tokens": 8 + count}


async def bootstrap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(os.environ["GROUP"].encode() + b"\n")
    writer.close()


def start_schedulers() -> None:
    """As SGLang's: a process titled so for each GPU, below a data-parallel controller. That they die, this process
    does not notice."""
    scheduler = "import subprocess, time; subprocess.Popen(['sglang::scheduler_DP0_TP0', '1000000'], " \
                "executable='/bin/sleep'); time.sleep(1000000)"  # fmt: skip
    subprocess.Popen(["sglang::data_parallel_controller", "-c", scheduler], executable=sys.executable)
    subprocess.Popen(["sglang::detokenizer", "1000000"], executable="/bin/sleep")


async def main() -> None:
    args = arguments()
    start_schedulers()
    host, port = args.dist_init_addr.rsplit(":", 1)
    print(
        f"rank: group={os.environ['GROUP']} rank={args.node_rank} nnodes={args.nnodes} "
        f"dist-init-addr={args.dist_init_addr} host={os.uname().nodename} address={args.host}",
        flush=True,
    )
    if args.node_rank > 0:
        while True:
            try:
                reader, writer = await asyncio.open_connection(host, int(port))
                break
            except OSError:
                await asyncio.sleep(0.2)
        writer.write(f"{args.node_rank}\n".encode())
        await reader.read()
        sys.exit(f"rank {args.node_rank}: rank 0 is gone")
    server = Server(args)
    await asyncio.start_server(server.joined, host, int(port))
    if args.disaggregation_mode == "prefill":
        await asyncio.start_server(bootstrap, args.host, args.disaggregation_bootstrap_port)
    app = web.Application(middlewares=[guard(args.config)] if args.config else [])
    app.router.add_get("/health", server.health)
    app.router.add_get("/v1/models", server.models)
    for path in ("/server_info", "/get_server_info", "/model_info", "/get_model_info"):
        app.router.add_get(path, server.info)
    for path in ("/v1/chat/completions", "/v1/completions"):
        app.router.add_post(path, server.complete)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, args.host, args.port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
