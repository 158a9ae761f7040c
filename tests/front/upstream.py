"""A frontend's stand-in: streams, and says what it was asked. python upstream.py PORT

GET /stream?N streams N events at 20 ms; GET /asked lists what came; POST /v1/chat/completions streams 20.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiohttp import web

ASKED: list[dict[str, object]] = []
CUT: list[str] = []


async def answer(request: web.Request) -> web.StreamResponse:
    if request.path == "/live":
        return web.Response(text="ok")
    if request.path == "/asked":
        return web.json_response({"asked": ASKED, "cut": CUT})
    ASKED.append({"path": request.path, "headers": dict(request.headers)})
    if request.path != "/v1/chat/completions":
        return web.Response(text=json.dumps({"path": request.path}))
    count = int((await request.json()).get("events", 20))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    try:
        for n in range(count):
            await response.write(f"data: {n}\n\n".encode() + b" " * int(request.headers.get("X-Pad", 0)))
            await asyncio.sleep(0.02)
        await response.write(b"data: [DONE]\n\n")
    except (ConnectionError, asyncio.CancelledError):
        CUT.append(request.path)
        raise
    return response


def main(port: int) -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None, handler_cancellation=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
