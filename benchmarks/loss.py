"""What is lost when a worker is killed under load: python benchmarks/loss.py [--clients 100] [--kill prefill|decode]

A deployment of the mocker on this machine, two workers of each role; so many clients ask again and again, one worker is
killed by SIGKILL, and each second's answers and failures are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.local.run import Launcher  # noqa: E402

Outcome = tuple[float, float, str]  # asked, ended (seconds), "ok" or what went wrong


async def ask(session: aiohttp.ClientSession, url: str, tokens: int) -> str:
    """One streamed chat: "ok", or what went wrong with it."""
    body = {
        "model": "tiny", "messages": [{"role": "user", "content": "Count."}], "max_tokens": tokens, "ignore_eos": True,
        "stream": True,
    }  # fmt: skip
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
            if answer.status != 200:
                return str(answer.status)
            text = (await answer.read()).decode(errors="replace")
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as e:
        return type(e).__name__
    pieces = sum('"content"' in line for line in text.splitlines())
    return "ok" if "[DONE]" in text and pieces >= tokens * 0.9 else "cut"


async def load(url: str, key: str, clients: int, tokens: int, until: float, outcomes: list[Outcome]) -> None:
    """So many clients ask one request after the other until then."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(30),
        headers={"Authorization": f"Bearer {key}"},
    ) as session:

        async def client() -> None:
            while time.monotonic() < until:
                begin = time.monotonic()
                said = await ask(session, url, tokens)
                outcomes.append((begin, time.monotonic(), said))
                if said != "ok":
                    await asyncio.sleep(0.2)

        await asyncio.gather(*(client() for _ in range(clients)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--kill", choices=["prefill", "decode"], default="prefill")
    parser.add_argument("--tokens", type=int, default=64)
    asked = parser.parse_args()
    launcher = Launcher(Path(tempfile.mkdtemp()))
    try:
        run = launcher.start(
            "--set=prefill.workers=2", "--set=decode.workers=2", "--set=warmup.requests.enabled=false",
            "--set=mocker.speedup-ratio=1",
        )  # fmt: skip
        outcomes: list[Outcome] = []
        killed, at = time.monotonic(), time.time()

        async def both() -> None:
            nonlocal killed, at
            until = time.monotonic() + 14
            task = asyncio.create_task(load(run.url, run.key, asked.clients, asked.tokens, until, outcomes))
            await asyncio.sleep(4)
            killed, at = time.monotonic(), time.time()
            mockers = [p for p in launcher.processes(run.job) if "dynamo.mocker" in p.argv]
            victim = next(p for p in mockers if asked.kill in p.argv)
            os.kill(victim.pid, signal.SIGKILL)
            await task

        asyncio.run(both())
        in_flight = Counter(said for begin, end, said in outcomes if begin < killed <= end)
        print(json.dumps({"killed": asked.kill, "in flight": in_flight}))
        for second in range(8):
            found = Counter(said for begin, _, said in outcomes if killed + second <= begin < killed + second + 1)
            print(json.dumps({"asked after, s": second, **found}))
        for line in (run.path / "events.jsonl").read_text().splitlines():
            event = json.loads(line)
            if (after := event["time"] - at) > 0:
                print(f"{after:6.2f} s  {event['stage']} {event['state']}")
    finally:
        launcher.kill_all()


if __name__ == "__main__":
    main()
