"""Ask for a streamed answer of so many tokens, and print how it came: python stream.py URL MODEL TOKENS

Exit status 1 when it is not a whole one. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request


def main(url: str, model: str, tokens: str) -> int:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Count."}],
        "max_tokens": int(tokens),
        "ignore_eos": True,
        "stream": True,
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY')}"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    pieces, finish, done = 0, None, False
    with urllib.request.urlopen(request, timeout=60) as response:
        for raw in response:
            data = raw.decode().strip().removeprefix("data:").strip()
            if data == "[DONE]":
                done = True
            elif data.startswith("{"):
                for choice in json.loads(data).get("choices", ()):
                    pieces += bool(choice["delta"].get("content"))
                    finish = choice.get("finish_reason") or finish
    print(json.dumps({"tokens": pieces, "finish": finish, "done": done}))
    return 0 if done else 1


def start_long_request(url: str, key: str, model: str, tokens: int) -> subprocess.Popen[bytes]:
    """The same as a process beside the caller."""
    words = [sys.executable, __file__, url, model, str(tokens)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, env={"OPENAI_API_KEY": key})


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
