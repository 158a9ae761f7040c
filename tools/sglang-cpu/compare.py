"""`make sglang-cpu`: real SGLang on this machine, five ways, which must say the same (with two ranks: begin so).

Serves configs/sglang-cpu.yaml (prefill and decode under Dynamo), the same aggregated, on one node and
over two, and configs/sglang-cpu-native.yaml (SGLang's own router), asks each the same questions at temperature 0,
ends it, and looks for processes that are left. Prints a table for docs/results.md; exit status 1 if
a text differs or something is left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SGL_LAUNCH = Path(sys.executable).with_name("sgl-launch")
QUESTIONS = ("the quick brown fox", "lazy dog lazy dog lazy", "hello world how are you", "bar dun gas los " * 20)
MARK = uuid.uuid4().hex  # in the environment of all that is started here


@dataclass(frozen=True)
class Served:
    """What one way of serving gave; times in seconds."""

    name: str
    ready: float
    first: float
    later: float
    stop: float
    texts: list[str]
    left: list[str]


def ask(url: str, key: str, question: str) -> tuple[str, float]:
    """The text of an answer, and how long it took. Raises OSError."""
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 32,
        "temperature": 0,
        "ignore_eos": True,
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    begin = time.monotonic()
    with urllib.request.urlopen(request, timeout=120) as response:
        answer = json.load(response)
    return answer["choices"][0]["message"]["content"], time.monotonic() - begin


def shared(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def processes() -> list[str]:
    """Everything with our mark in its environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"SGLANG_CPU_MARK={MARK}".encode() in entry.joinpath("environ").read_bytes().split(b"\0"):
                words = entry.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(f"{entry.name} {words[:120]}")
        except OSError:
            continue
    return found


def serve(name: str, folder: Path, config: str, *options: str) -> Served:
    env = {**os.environ, "SGLANG_CPU_MARK": MARK, "SGL_LAUNCH": str(SGL_LAUNCH)}

    def launch(*words: str) -> str:
        done = subprocess.run([SGL_LAUNCH, *words], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{name}: sgl-launch {words[0]} ended with exit status {done.returncode}\n{done.stdout}")
        return done.stdout

    begin = time.monotonic()
    sets = ("--set=warmup.requests.enabled=false", *options)
    said = launch("submit", str(ROOT / config), "--cluster", "local", "--wait", "ready", "--timeout", "600", *sets)
    ready = time.monotonic() - begin
    found = re.search(r"job (L\d+), (\S+)", said)
    if found is None:
        sys.exit(f"{name}: submit said {said!r}")
    try:
        url = json.loads(Path(found[2], "endpoint.json").read_text())["url"]
        key = Path(found[2], "secrets", "endpoint-key").read_text()
        answers = [ask(url, key, question) for question in QUESTIONS]
    finally:
        begin = time.monotonic()
        launch("cancel", found[2])
        stop = time.monotonic() - begin
    first, later = answers[0][1], min(seconds for _, seconds in answers[1:])
    return Served(name, ready, first, later, stop, [text for text, _ in answers], processes())


def main() -> int:
    role = yaml.safe_load((ROOT / "configs" / "sglang-cpu.yaml").read_text())["prefill"]["args"]
    alone = ("--set=prefill=null", "--set=decode=null", f"--set=aggregated={json.dumps({'args': role})}")
    folder = Path(tempfile.mkdtemp(prefix="sglang-cpu-"))  # stays when something fails
    all_served = [
        serve("prefill and decode under Dynamo", folder, "configs/sglang-cpu.yaml"),
        serve("aggregated under Dynamo", folder, "configs/sglang-cpu.yaml", *alone),
        serve("prefill and decode, SGLang's router", folder, "configs/sglang-cpu-native.yaml"),
        serve("aggregated over two nodes (TP 2) under Dynamo", folder, "configs/sglang-cpu-agg2.yaml"),
        serve("aggregated, SGLang's router", folder, "configs/sglang-cpu-native.yaml", *alone),
    ]
    print("| way | submit to ready (s) | first chat (s) | later chats (s) | cancel (s) | text |")
    print("| --- | --- | --- | --- | --- | --- |")
    failed = False
    for one in all_served:
        same = one.texts == all_served[1].texts
        begin = [shared(*pair) for pair in zip(one.texts, all_served[1].texts, strict=True)]
        # two ranks add their parts in another order, which a model of random weights soon feels
        near = "TP 2" in one.name and min(begin) > 0
        failed = failed or not (same or near) or bool(one.left)
        verdict = "equal" if same else f"differs: {one.texts}"
        if near and not same:
            verdict = f"the first {', '.join(map(str, begin))} of {', '.join(map(str, map(len, one.texts)))} characters"
        print(f"| {one.name} | {one.ready:.0f} | {one.first:.2f} | {one.later:.2f} | {one.stop:.1f} | {verdict} |")
        for process in one.left:
            print(f"left: {process}")
    if not failed:
        shutil.rmtree(folder)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
