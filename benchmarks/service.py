"""A service over links of about a minute, on a real Slurm cluster: streams at one address, and what became of them.

    python benchmarks/service.py [--links N] [--requests N] [--update]       (root)

Real Slurm, NATS, etcd, Caddy and Dynamo; the workers are Dynamo's mocker. Streams of 1 to 20 s come to a gateway on the
login node at random moments while jobs hand over to each other.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.slurm.cluster import LOGIN, Cluster, wait_until  # noqa: E402
from tests.slurm.deploy import MODEL, SGL_LAUNCH, Launcher, shared_folder, small  # noqa: E402

PORT = 8000
SHORTEST, LONGEST = 1.0, 20.0  # seconds of a stream


async def ask(session: object, url: str, tokens: int) -> str:
    """`whole`, or how it went wrong."""
    import aiohttp

    body = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "max_tokens": tokens,
            "ignore_eos": True, "stream": True}  # fmt: skip
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as answer:  # type: ignore[attr-defined]
            if answer.status != 200:
                return f"failed: HTTP {answer.status} {(await answer.text())[:80]}"
            pieces, done = 0, False
            async for line in answer.content:
                done = done or line.startswith(b"data: [DONE]")
                pieces += b'"content":' in line
            return "whole" if done and pieces >= tokens - 1 else f"cut after {pieces} of {tokens} tokens"
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        return f"failed: {type(error).__name__}: {error}"[:120]


async def load(url: str, count: int, seconds: float, rate: float, longest: float) -> None:
    """`count` streams that begin at random moments of `seconds`; `rate` is tokens a second of one stream."""
    import aiohttp

    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    found: collections.Counter[str] = collections.Counter()
    took: list[float] = []
    ends: list[float] = []
    at_once = most = 0
    chance, begin = random.Random(1), time.monotonic()

    async def one(session: aiohttp.ClientSession, at: float, tokens: int) -> None:
        nonlocal at_once, most
        await asyncio.sleep(begin + at - time.monotonic())
        at_once += 1
        most = max(most, at_once)
        started = time.monotonic()
        outcome = await ask(session, url, tokens)
        took.append(time.monotonic() - started)
        at_once -= 1
        found[outcome] += 1
        ends.append(time.monotonic()) if outcome == "whole" else None
        if outcome != "whole":
            print(f"{time.strftime('%H:%M:%S')} {outcome}", file=sys.stderr, flush=True)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers=headers, timeout=aiohttp.ClientTimeout(150)
    ) as session:
        plans = [(chance.uniform(0, seconds), int(rate * chance.uniform(SHORTEST, longest))) for _ in range(count)]
        await asyncio.gather(*(one(session, at, max(tokens, 2)) for at, tokens in plans))
    seconds_each = [round(f(took), 1) for f in (min, statistics.median, max)]
    ends.sort()
    gap = round(max((b - a for a, b in itertools.pairwise(ends)), default=0.0), 1)  # between ends of whole ones
    print(json.dumps({"requests": count, "at_once": most, "seconds": seconds_each, "gap": gap, "outcomes": found}))


def drill(links: int, count: int, rate: float, update: bool) -> int:
    with Cluster.up(nodes=6, gpus=8) as cluster, shared_folder(cluster) as folder:
        launcher = Launcher(cluster, folder)
        config = json.loads(small())
        config["mocker"] = {"speedup-ratio": 0.1}
        config["slurm"]["time"] = "00:05:00"
        config["warmup"]["requests"] = {"prompt_tokens": [64], "concurrency": [2], "output_tokens": [4], "timeout": 60}
        config["timeouts"] = {"drain": 40}
        name = launcher.write(json.dumps(config))
        began = time.monotonic()
        length = f"{links * 75 + 400}s"
        done = launcher("serve", name, "--for", length, "--lead", "225")
        print(done.stdout.strip(), done.stderr.strip(), flush=True)
        assert done.returncode == 0
        wait_until(lambda: "service small: serving" in launcher("status", "small").stdout, 180, "the first link")
        where = launcher("endpoint", "small").stdout
        print(f"first link serves after {time.monotonic() - began:.1f} s: {where}", end="")
        env = {"SGL_LAUNCH_SITE": str(folder / "site.yaml")}
        with (folder / "gateway.log").open("w") as log:
            gateway = cluster.popen([str(SGL_LAUNCH), "gateway", "small", "--listen", f"127.0.0.1:{PORT}"], LOGIN,
                                    cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)  # fmt: skip
            time.sleep(4)
            key = (folder / "runs" / "small.service" / "endpoint-key").read_text()
            words = [sys.executable, __file__, "--client", f"http://127.0.0.1:{PORT}", "--requests", str(count),
                     "--seconds", str(links * 70), "--rate", str(rate)]  # fmt: skip
            client = cluster.popen(words, LOGIN, cwd=ROOT, env={"OPENAI_API_KEY": key}, stdout=subprocess.PIPE)
            if update:
                time.sleep(30)
                config["mocker"]["max-num-seqs"] = 200
                print(launcher("serve", launcher.write(json.dumps(config), "new.yaml"), "--for", length,
                               "--lead", "225").stdout)  # fmt: skip
            said = client.communicate(timeout=links * 70 + 400)[0]
            gateway.terminate()
            gateway.wait(20)
        print(said, (folder / "gateway.log").read_text(), sep="\n")
        ended = launcher("cancel", "small")
        print(ended.stdout, ended.stderr)
        for out in sorted((folder / "runs").glob("*.out")):
            lines = [line for line in out.read_text().splitlines() if "service small" in line]
            print(out.name, *lines, sep="\n  ")
        print("queue:", cluster.run(["squeue", "-h"]).stdout or "empty", "left:", cluster.left_over(timeout=5))
        outcomes = json.loads(said.splitlines()[-1])["outcomes"]
        return 0 if set(outcomes) == {"whole"} else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--links", type=int, default=4)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=12.0, help="tokens a second of one stream of the mocker's")
    parser.add_argument("--update", action="store_true", help="change the config after half a minute")
    parser.add_argument("--client", metavar="URL")
    parser.add_argument("--seconds", type=float, default=280)
    parser.add_argument("--longest", type=float, default=LONGEST, help="seconds of the longest stream")
    args = parser.parse_args()
    if args.client:
        asyncio.run(load(args.client, args.requests, args.seconds, args.rate, args.longest))
        return 0
    return drill(args.links, args.requests, args.rate, args.update)


if __name__ == "__main__":
    sys.exit(main())
