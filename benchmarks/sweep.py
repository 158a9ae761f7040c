#!/usr/bin/env python3
"""Is the request sweep to be trusted? Against servers of known speed, and against chance.

    sweep.py [ttft] [rule] [dsr1] [workers] [--trials 2000]

ttft     the time to first token that is read, against what the server itself saw
rule     warm deployments called warm, and cold ones too, in trials of the rule (seeded)
dsr1     the sizes of configs/dsr1.yaml: how long the sweep takes
workers  50 prefill and 50 decode workers at 30 % jitter: how long the sweep takes

Needs a C compiler for the server. Prints one line a case; status 1 when a limit is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pool
from pathlib import Path
from statistics import median

from simulated import Deployment, probe_trial, trial

from warmup.requests import Limits, Options, run
from warmup.requests.client import Client
from warmup.requests.clock import run as run_loop
from warmup.requests.round import run_round
from warmup.requests.wire import Wire, most_connections

SOURCE = Path(__file__).with_name("known_server.c")
PARTS = ("ttft", "rule", "dsr1", "workers")


@contextmanager
def known_server(**speeds: float) -> Iterator[str]:
    """The server of known_server.c, compiled and running; its base URL. Raises OSError or
    CalledProcessError without a compiler."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "known_server")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", program, SOURCE, "-lm"], check=True)
        words = [f"{name}={value}" for name, value in speeds.items()]
        with subprocess.Popen([program, *words], stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                yield f"http://127.0.0.1:{int(server.stdout.readline())}"
            finally:
                server.kill()


def read_ttft(url: str, tokens: int, at_once: int, rounds: int) -> list[tuple[float, float]]:
    """For each round the median time to first token (seconds) as the client read it and as the
    server saw it, ``at_once`` requests of ``tokens`` each."""

    async def measure() -> list[tuple[float, float]]:
        found = []
        async with Wire(url, 120) as wire:
            client = Client(wire, url, "known")
            for _ in range(rounds):
                requests = [client.prepare(tokens, 8, index=i) for i in range(at_once)]
                answers, whole = await run_round(client, requests, at_once, time.monotonic() + 120)
                assert whole, "it took longer than 120 s"
                assert all(a.ok for a in answers), answers[:1]
                with urllib.request.urlopen(f"{url}/truth") as page:
                    truth = json.load(page)
                assert {length for _, _, length in truth} == {tokens}
                read = median(a.ttft for a in answers if a.ttft is not None)
                found.append((read, median(first - received for received, first, _ in truth)))
        return found

    return run_loop(measure())


def ttft() -> bool:
    most_connections()
    good = True
    cases = ((32, 1), (4096, 16), (32_768, 16), (32_768, 64), (32, 256), (32, 1024))
    for delay in (0.05, 0.5):
        with known_server(ttft=delay, itl=0.03) as url:
            for tokens, at_once in cases:
                rounds = read_ttft(url, tokens, at_once, 9)[2:]
                read, true = (median(values) for values in zip(*rounds, strict=True))
                off, allowed = abs(read - true), max(0.005, 0.05 * true)
                good &= off <= allowed
                print(
                    f"ttft: {tokens} tokens x {at_once}, set {delay * 1000:.0f} ms: read {read * 1000:.1f} ms,"
                    f" true {true * 1000:.1f} ms, off {off * 1000:.1f} of {allowed * 1000:.1f} ms",
                    flush=True,
                )
    return good


def rule(trials: int) -> bool:
    good = True
    warm = (
        Deployment(),
        Deployment(jitter=0.2),
        Deployment(workers=8, requests=8, jitter=0.2),
        Deployment(workers=8, requests=8),
        Deployment(workers=1, requests=3),
        Deployment(workers=1, requests=3, jitter=0.05),
    )
    cold = (
        Deployment(above=1.0),
        Deployment(above=0.5),
        Deployment(above=0.25),
        Deployment(above=4.0, whole=True),
        Deployment(above=4.0, stays=0.8),
        Deployment(above=20.0, stays=0.5),
        Deployment(above=0.8, whole=True, jitter=0.05),
        Deployment(above=0.8, jitter=0.05),
        Deployment(workers=8, requests=8, above=1.0),
        Deployment(workers=1, requests=3, above=1.0, jitter=0.05),
        Deployment(cold=1),
    )
    with Pool(os.cpu_count()) as pool:
        for each in (*warm, *cold):
            said = pool.starmap(trial, [(each, seed) for seed in range(trials)], chunksize=20)
            share = sum(s for s, _, _ in said) / trials
            early = sum(s and above >= 0.2 for s, above, _ in said) / trials
            rounds = sorted(n for _, _, n in said)
            if each.cold:
                early, ok = share, share <= 0.05
            else:
                ok = early <= 0.05 and (share >= 0.95 or each not in warm)
            good &= ok
            print(
                f"rule: {each}: called warm {share:.3f}, of these 20 % or more above the end (or with a cold worker)"
                f" {early:.3f}, rounds {rounds[trials // 2]} (95 %: {rounds[int(trials * 0.95)]})",
                flush=True,
            )
        for each in warm:
            few = max(20, trials // 10)  # each is six sizes
            false, true = (
                sum(pool.starmap(probe_trial, [(each, seed, cold_s) for seed in range(few)])) / few
                for cold_s in (0.0, 1.3)
            )
            good &= false <= 0.05 and true >= 0.95
            print(
                f"probe: {each}: called slow when warm {false:.3f}, with one prompt 1.3 s late {true:.3f}",
                flush=True,
            )
    return good


def whole_sweep(name: str, limits: Limits, seconds: float, **speeds: float) -> bool:
    with known_server(**speeds) as url:
        report = run(url, options=Options(limits=limits, time_limit=3600))
    sizes = report.to_dict()["sizes"]
    took = report.result.seconds
    print(
        f"{name}: {len(sizes)} sizes, up to {max(s['concurrency'] for s in sizes)} at once,"
        f" {report.result.requests} requests, {took:.0f} of {seconds:.0f} s: {report.verdict.state}"
        f" {'; '.join(report.verdict.reasons)}",
        flush=True,
    )
    for size in sizes:
        print(f"  {size['size']}: {size['state']}, {size['rounds']} rounds, steady {size['steady_ttft']} s")
    return report.verdict.warm and took <= seconds


def dsr1() -> bool:
    """The flags of configs/dsr1.yaml that sizes follow from; 40,000 prompt tokens a second and
    rank, 30 ms a decode step."""
    prefill = {"dp-size": 16, "enable-dp-attention": True, "chunked-prefill-size": 524288, "disable-radix-cache": True}
    decode = {"dp-size": 32, "enable-dp-attention": True, "cuda-graph-bs-decode": 256}
    limits = Limits.from_args(prefill, decode)
    return whole_sweep("dsr1", limits, 180, ttft=0.05, rate=40_000, itl=0.03, jitter=0.1, cold=2)


def workers() -> bool:
    limits = Limits.from_args(
        {"chunked-prefill-size": 8192}, {"cuda-graph-max-bs": 64}, prefill_workers=50, decode_workers=50
    )
    speeds = {"ttft": 0.05, "rate": 40_000, "itl": 0.03, "jitter": 0.3, "cold": 2}
    return whole_sweep("workers", limits, 600, prefill=50, decode=50, **speeds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--trials", type=int, default=2000)
    wish = parser.parse_args()
    if unknown := set(wish.parts) - set(PARTS):
        parser.error(f"no part named {', '.join(sorted(unknown))}")
    work = {"ttft": ttft, "rule": lambda: rule(wish.trials), "dsr1": dsr1, "workers": workers}
    kept = [work[part]() for part in wish.parts or PARTS]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
