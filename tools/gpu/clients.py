"""Clients that ask an endpoint all along: clients.py URL MODEL CLIENTS [--key-file FILE]. Ends at SIGTERM.

Prints what became of the requests as a JSON object, by outcome: `whole`, `no token` (status 200 and nothing in it),
`cut`, `status N`, `no connection`; and `worst`, the longest time in seconds between two answers with tokens.
Standard library only.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import signal
import threading
import time
import urllib.parse

BODY = {"messages": [{"role": "user", "content": "Tell me of it."}], "max_tokens": 64, "stream": True}


class Tally:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.last = time.monotonic()
        self.worst = 0.0

    def add(self, outcome: str) -> None:
        with self.lock:
            self.outcomes[outcome] += 1
            if outcome == "whole":
                now = time.monotonic()
                self.worst = max(self.worst, now - self.last)
                self.last = now


def ask(url: urllib.parse.SplitResult, body: bytes, headers: dict[str, str]) -> str:
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)
    try:
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            return f"status {answer.status}"
        tokens = done = 0
        for line in answer:
            if line.startswith(b"data: [DONE]"):
                done = 1
            elif line.startswith(b"data: {"):
                choices = json.loads(line[6:]).get("choices")
                tokens += bool(choices and choices[0]["delta"].get("content"))
        return "cut" if not done else "whole" if tokens else "no token"
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        return "no connection" if isinstance(error, ConnectionRefusedError) else "cut"
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("clients", type=int)
    parser.add_argument("--key-file")
    args = parser.parse_args()
    headers = {"Content-Type": "application/json"}
    if args.key_file:
        with open(args.key_file, encoding="utf-8") as file:
            headers["Authorization"] = f"Bearer {file.read().strip()}"
    body = json.dumps({**BODY, "model": args.model}).encode()
    tally, ended = Tally(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())

    def loop() -> None:
        while not ended.is_set():
            outcome = ask(urllib.parse.urlsplit(args.url), body, headers)
            tally.add(outcome)
            if outcome != "whole":
                ended.wait(0.2)

    for _ in range(args.clients):
        threading.Thread(target=loop, daemon=True).start()
    ended.wait()
    with tally.lock:
        print(json.dumps({**tally.outcomes, "worst": round(tally.worst, 2)}))


if __name__ == "__main__":
    main()
