#!/usr/bin/env python3
"""Are bench's figures right, and does it say so when they are not? `make bench-points` (an environment with aiperf).

    benchmarks/points.py model      Dynamo's mocker, whose speed is known: bench against it and against our own client
    benchmarks/points.py faults     each kind of invalid point: bench must name it, with exit status 1

MOCKER_SPEED=0.2 makes the mocker quicker than 0.05, for a machine that does nothing else.

`model`: a decode step of Dynamo's mocker takes -25.74 p² + 54.01 p + 5.74 ms (p: the share of KV tokens in use), a
prefill of n tokens 4.209989e-07 n² + 1.518344e-02 n + 16.50142 ms (lib/mocker, PerfModel::Polynomial), both divided by
--speedup-ratio. One request at a time has its first token after the prefill, two decode steps, and what is not
simulated: that is measured first, by our own client, with a mocker that takes no time (1,000 times as fast).

`faults`: workers killed, a job that ends and workers that get nothing are real (mocker); streams that are cut, answers
that are empty or short and refusals come from a stand-in of a frontend (tests/requests/requests_standin.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "requests")]
PROGRAM = Path(sys.executable).with_name("sgl-launch")
SPEED = float(os.environ.get("MOCKER_SPEED", "0.05"))  # slow, so that what this machine adds is small beside it
KV_TOKENS = 16_384 * 16  # of the mocker, by default, with pages of 16
BAR = 0.05


def call(folder: Path, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SGL_LAUNCH_SITE": str(folder / "site.yaml")}
    return subprocess.run([*prefix, str(PROGRAM), *words], cwd=folder, env=env, capture_output=True, text=True)


@contextmanager
def deployment(*sets: str, speed: float = SPEED) -> Iterator[Path]:
    """configs/local.yaml, slow; its folder."""
    with tempfile.TemporaryDirectory(prefix="points-") as name:
        folder = Path(name)
        (folder / "site.yaml").write_text("runs: runs\n")
        options = [f"--set={one}" for one in (f"mocker.speedup-ratio={speed}", "warmup.requests.enabled=false", *sets)]
        done = call(folder, "submit", str(ROOT / "configs" / "local.yaml"), "--cluster=local", "--wait=ready", *options)
        try:
            if done.returncode:
                raise SystemExit(done.stdout + done.stderr)
            yield folder
        finally:
            call(folder, "cancel", "demo")


def bench(folder: Path, target: str, *words: str, prefix: tuple[str, ...] = ()) -> tuple[dict[str, Any], int]:
    """The point's object in bench.json, and the exit status."""
    done = call(folder, "bench", target, "--json", *words, prefix=prefix)
    try:
        return json.loads(done.stdout)["points"][0], done.returncode
    except (ValueError, LookupError):
        raise SystemExit(f"bench said nothing: {done.stdout}{done.stderr}") from None


def prefill(tokens: int) -> float:
    """Seconds."""
    return (4.209989e-07 * tokens**2 + 1.518344e-02 * tokens + 16.50142) / SPEED / 1000


def step(tokens: float) -> float:
    """Seconds of a decode step while a worker has so many tokens in its KV cache."""
    share = tokens / KV_TOKENS
    return (-25.74 * share**2 + 54.01 * share + 5.74) / SPEED / 1000


def ours(folder: Path, prompt: int, output: int, at_once: int, count: int) -> tuple[float, float]:
    """Median TTFT and ITL by the request sweep's client, without its first wave."""
    from launcher.measure.bench import of
    from warmup.requests.client import Client
    from warmup.requests.clock import run
    from warmup.requests.round import run_round
    from warmup.requests.wire import Wire

    server = of("demo", folder / "runs", model="tiny", tokenizer="builtin").server

    async def ask() -> tuple[float, float]:
        async with Wire(server.url, 300, server.key, server.ca) as wire:
            client = Client(wire, server.url, server.model)
            await client.send(16, 1)  # how many tokens its words are
            requests = [client.prepare(prompt, output, index=n) for n in range(count + at_once)]
            answers, _ = await run_round(client, requests, at_once, time.monotonic() + 600)
            good = [a for a in answers if a.ok and a.index >= at_once]
            return median(a.ttft for a in good if a.ttft), median(a.itl for a in good if a.itl)

    return run(ask())


def model() -> bool:
    """Bench, the model and our client side by side."""
    fine = True
    with deployment(speed=1000) as folder:
        apart, _ = ours(folder, 64, 8, 1, 24)
    print(f"not simulated: {apart * 1000:.1f} ms before the first token", flush=True)
    print("| load | figure | by the model | bench (aiperf) | our client | off the model | valid |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with deployment() as folder:
        for at_once, prompt, output in ((1, 64, 32), (1, 1024, 16), (4, 64, 32)):
            words = (f"--concurrency={at_once}", f"--prompt-tokens={prompt}", f"--output-tokens={output}")
            point, _ = bench(folder, "demo", *words, "--requests=32", f"--out={folder}/b{at_once}-{prompt}")
            figures, valid = point["figures"], "valid" if point["valid"] else "; ".join(point["problems"])
            mine = ours(folder, prompt, output, at_once, 8 * at_once)
            itl = step(max(1, at_once / 2) * (prompt + output / 2))
            rows = [("ITL p50", itl, figures["itl"]["p50"], mine[1], 1e3, "ms")]
            if at_once == 1:  # else requests wait for each other
                first = apart + prefill(prompt) + 2 * itl
                whole = output / (first + (output - 1) * itl)
                rows.append(("TTFT p50", first, figures["ttft"]["p50"], mine[0], 1e3, "ms"))
                own_rate = output / (mine[0] + (output - 1) * mine[1])
                rows.append(("tokens/s", whole, figures["output_rate"], own_rate, 1, ""))
            else:
                rows.append(("TTFT p50", None, figures["ttft"]["p50"], mine[0], 1e3, "ms"))  # type: ignore[arg-type]
            for name, wanted, got, own, factor, unit in rows:
                values = ["-" if v is None else f"{v * factor:.4g} {unit}".strip() for v in (wanted, got, own)]
                off = abs(got / (wanted or own) - 1)
                fine = fine and off <= BAR and point["valid"]
                load = f"{at_once} at once, {prompt} > {output}"
                print(f"| {load} | {name} | {' | '.join(values)} | {off:.1%} | {valid} |", flush=True)
    return fine


@contextmanager
def standing_in(**what: Any) -> Iterator[str]:
    """The address of a stand-in of a frontend."""
    from requests_standin import StandIn, serving

    loop, started, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    made = StandIn(dynamo=False, **what)

    async def serve() -> None:
        async with serving(made):
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    if not started.wait(10):
        raise SystemExit("the stand-in did not start")
    try:
        yield made.url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def later(seconds: float, folder: Path, do: Any) -> None:
    """Once a point's requests run: aiperf needs a while to start, so wait for one that a worker has in flight."""

    def body() -> None:
        from launcher.measure.metrics import scrape
        from launcher.measure.watch import running
        from launcher.run.deployment import read_deployment
        from launcher.run.find import find_run
        from launcher.run.targets import targets_of

        targets = targets_of(read_deployment(find_run("demo", folder / "runs")))
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            found = asyncio.run(scrape(targets)).values()
            if sum(running(m) or 0 for m in found if m) >= 2:
                break
            time.sleep(0.5)
        time.sleep(seconds)
        do()

    threading.Thread(target=body, daemon=True).start()


def kill(folder: Path, name: str) -> None:
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = environ.read_bytes().split(b"\0")
        except OSError:
            continue
        run = str(next((folder / "runs").glob("demo-*")).resolve()).encode()
        if b"RUN=" + run in words and any(w.startswith(b"LAUNCH_RANK=") and f"/{name}/".encode() in w for w in words):
            os.kill(int(environ.parent.name), signal.SIGKILL)


SMALL = ("--prompt-tokens=64", "--output-tokens=16", "--requests=32", f"--tokenizer={ROOT}/configs/tiny-model")


def faults(standin: bool = True, real: bool = True) -> bool:
    """A row for each kind: what was done, what bench said."""
    kinds: list[tuple[str, str, dict[str, Any], str]] = [
        ("a stream in four is cut", "stand-in", {"fault": "cut", "fault_every": 4}, "requests failed"),
        ("an error ends a stream in four", "stand-in", {"fault": "inner", "fault_every": 4}, "another length"),
        ("a request in four is refused (500)", "stand-in", {"fault": "status", "fault_every": 4}, "HTTP 500"),
        ("an answer in four has one token", "stand-in", {"fault": "short", "fault_every": 4}, "another length"),
        ("an answer in four has no token", "stand-in", {"fault": "empty", "fault_every": 4}, "without a token"),
        ("each answer slower than the last", "stand-in", {"growing": 0.004}, "not steady"),
    ]
    fine = True
    print("| what is wrong | real or not | bench says | status |\n| --- | --- | --- | --- |")

    def row(what: str, real: str, point: dict[str, Any], status: int, wanted: str) -> None:
        nonlocal fine
        said = "; ".join(point["problems"]) or "valid"
        named = wanted in said and status == 1
        fine = fine and named
        print(f"| {what} | {real} | {said}{'' if named else f' (NOT NAMED: {wanted})'} | {status} |", flush=True)

    if standin:
        _with_a_standin(kinds, row)
    if real:
        _with_the_mocker(row)
    return fine


def _with_a_standin(kinds: list[tuple[str, str, dict[str, Any], str]], row: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="points-") as name:
        folder = Path(name)
        (folder / "site.yaml").write_text("runs: runs\n")
        for number, (what, real, behaviour, wanted) in enumerate(kinds):
            with standing_in(step=0.02, **behaviour) as url:
                point, status = bench(folder, url, "--concurrency=2", *SMALL, f"--out={folder}/{number}")
            row(what, real, point, status, wanted)
        with standing_in(step=0.02) as url, burning() as core:
            prefix = ("taskset", "-c", str(core), "nice", "-n", "5")
            point, status = bench(folder, url, "--concurrency=2", *SMALL, f"--out={folder}/starved", prefix=prefix)
        row("the client shares a core with six busy loops", "real", point, status, "the client was the limit")


def _with_the_mocker(row: Any) -> None:
    with deployment() as folder:
        trace = folder / "same.jsonl"
        lines = [{"timestamp": 1500 * n, "input_length": 64, "output_length": 4, "hash_ids": [1]} for n in range(14)]
        trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
        point, status = bench(folder, "demo", f"--trace={trace}")
        row("one prompt again and again, KV-aware routing", "real", point, status, "served no request")
        later(1, folder, lambda: kill(folder, "decode-1"))
        point, status = bench(folder, "demo", "--concurrency=4", *SMALL)
        row("decode-1 killed (kill -9)", "real", point, status, "decode-1 was lost or started again")
        later(1, folder, lambda: call(folder, "cancel", "demo"))
        point, status = bench(folder, "demo", "--concurrency=4", *SMALL)
        row("the job is cancelled", "real", point, status, "the job ended")


@contextmanager
def burning() -> Iterator[int]:
    """Six loops that have one core busy; which."""
    core = max(os.sched_getaffinity(0))
    words = ["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(words) for _ in range(6)]
    try:
        yield core
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    kinds = {"model": model, "faults": faults}
    kinds |= {"standin": lambda: faults(real=False), "real": lambda: faults(standin=False)}
    parser.add_argument("what", nargs="*", choices=kinds, default=["model", "faults"])
    done = [kinds[what]() for what in parser.parse_args().what]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
