"""Ask a deployment one streamed chat question, and print what came back as one JSON object.

    OPENAI_API_KEY=KEY python chat.py http://10.0.0.1:8000 MODEL

Standard library only, so that it runs on any node. Exit status 1 with the server's words when the
answer is not a whole one.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

TOKENS = 12


def ask(url: str, model: str, timeout: float = 20, key: str = "") -> dict[str, Any]:
    """The answer: its `text`, how many `pieces` it came in, and the `prefill` and `decode`
    workers' ids as Dynamo's frontend named them. Raises OSError or ValueError."""
    key = key or os.environ.get("OPENAI_API_KEY", "")
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Say something about lighthouses."}],
        "max_tokens": TOKENS,
        "stream": True,
        "nvext": {"extra_fields": ["worker_id"]},
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    text, pieces, done = "", 0, False
    workers: dict[str, int] = {}
    with urllib.request.urlopen(request, timeout=timeout) as response:
        for raw in response:
            line = raw.decode().strip()
            if not line.startswith("data:"):
                continue
            data = line[len("data:") :].strip()
            if data == "[DONE]":
                done = True
                continue
            event = json.loads(data)
            if "choices" not in event:
                raise ValueError(f"no answer but {data}")
            workers.update((event.get("nvext") or {}).get("worker_id") or {})
            for choice in event["choices"]:
                piece = choice["delta"].get("content")
                text, pieces = text + (piece or ""), pieces + bool(piece)
    if not done:
        raise ValueError(f"the stream was cut after {pieces} pieces: {text!r}")
    return {
        "text": text,
        "pieces": pieces,
        "prefill": workers.get("prefill_worker_id"),
        "decode": workers.get("decode_worker_id"),
    }


if __name__ == "__main__":
    try:
        print(json.dumps(ask(sys.argv[1], sys.argv[2])))
    except urllib.error.HTTPError as error:
        sys.exit(f"{error}: {error.read().decode()}")
    except (OSError, ValueError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
