"""Faults for a long time on a deployment of this machine: real NATS, etcd and Dynamo with its mocker.

    python benchmarks/soak.py soak [--seconds 3600] [--restarts 100]   parts are killed or stopped, with requests
                                                                       all along; what grows is printed
    python benchmarks/soak.py double [--rounds 200] [--seed 1]         two faults at once in each round, drawn from all
                                                                       parts, kinds of fault and stages

A round of `double` is good when the deployment serves again with all of its parts, or the job has ended, has left no
process and no file, and what it says of its failure (with the last lines of the log that it quotes) names a part that
was hit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.loss import Outcome, load  # noqa: E402
from tests.chat import ask  # noqa: E402
from tests.local.run import SMALL, Launcher, Process, Run  # noqa: E402

# restarts are soon forgotten, or the pauses before them would be what is measured
RULES = "--set=on_failure={max_restarts: 1000, window: 20, services: restart}"
PARTS = ("dynamo.frontend", "dynamo.mocker", "launcher.job.mocker_rank", "nats-server", "etcd")
FAULTS = (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)
STAGES = ("services", "workers", "frontend", "ready", "serve", "serve", "serve", "serve")
LIMIT = 60.0  # seconds for a round


def victims(run: Run, part: str) -> list[Process]:
    """The processes of the run that are such a part."""
    return [p for p in run.launcher.processes(run.job) if part in p.argv or p.argv[0].rpartition("/")[2] == part]


def answers(run: Run, limit: float) -> float | None:
    """Seconds until a chat is answered; None if none is within `limit`."""
    begin = time.monotonic()
    while time.monotonic() - begin < limit:
        try:
            if ask(run.url, "tiny", timeout=10, key=run.key)["text"]:
                return time.monotonic() - begin
        except (OSError, ValueError):
            time.sleep(0.2)
    return None


def ended(run: Run) -> bool:
    return ("stop", "done") in [event[:2] for event in run.events()]


def is_whole(run: Run) -> bool:
    """Whether every part that was started again is ready."""
    last = {stage: state for stage, state, _ in run.events() if state in ("lost", "restarting", "ready")}
    return "lost" not in last.values() and "restarting" not in last.values()


def resources(run: Run) -> dict[str, int]:
    """Of the supervisor and its run: descriptors, threads, resident KiB, processes, files and bytes, leases."""
    status = Path(f"/proc/{run.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    files = [p for folder in (run.path, run.launcher.scratch) for p in folder.rglob("*") if p.is_file()]
    return {
        "descriptors": len(os.listdir(f"/proc/{run.pid}/fd")),
        "threads": int(fields["Threads"]),
        "KiB": int(fields["VmRSS"].split()[0]),
        "processes": len(run.launcher.processes(run.job)),
        "listening": listening(run),
        "files": len(files),
        "bytes": sum(p.stat().st_size for p in files if p.exists()),
        "leases": leases(run),
    }


def listening(run: Run) -> int:
    """Listening sockets of the run's processes."""
    states = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    sockets = {f"socket:[{words[9]}]" for words in states if words[3] == "0A"}
    found = set()
    for process in run.launcher.processes(run.job):
        for entry in Path(f"/proc/{process.pid}/fd").glob("*"):
            try:
                found |= {os.readlink(entry)} & sockets
            except OSError:
                continue
    return len(found)


def leases(run: Run) -> int:
    """Leases in the job's etcd."""
    from launcher.run.deployment import etcd_client, read_deployment
    from launcher.run.folder import RunFolder

    client = etcd_client(read_deployment(RunFolder(run.path)))
    try:
        return len({m.lease_id for _, m in client.get_prefix("v1/") if m.lease_id})
    finally:
        client.close()


def soak(seconds: float, restarts: int) -> int:
    launcher = Launcher(Path(tempfile.mkdtemp()))
    try:
        two = ("--set=prefill.workers=2", "--set=decode.workers=2")
        run = launcher.start(RULES, "--set=warmup.requests.enabled=false", *two)
        run.wait_event("serve", "started")
        assert answers(run, 10) is not None, "it serves, and answers nothing before the first fault"
        outcomes: list[Outcome] = []
        begin = time.monotonic()
        asking = threading.Thread(target=lambda: asyncio.run(load(run.url, run.key, 4, 16, begin + seconds, outcomes)))
        asking.start()
        draw = random.Random(1)
        print(json.dumps({"s": 0, **resources(run)}), flush=True)
        for turn in range(restarts):
            if found := victims(run, PARTS[turn % len(PARTS)]):
                os.kill(draw.choice(found).pid, draw.choice(FAULTS[:2]))
            time.sleep(max(0.0, begin + seconds * (turn + 1) / restarts - time.monotonic()))
            if turn % max(restarts // 10, 1) == 0:
                print(json.dumps({"s": round(time.monotonic() - begin), **resources(run)}), flush=True)
        asking.join()
        back = answers(run, 40)
        time.sleep(3)
        begun_again = Counter(stage for stage, state, _ in run.events() if state == "restarting")
        print(json.dumps({"s": round(time.monotonic() - begin), **resources(run)}))
        print(json.dumps({"restarts": begun_again, "answers": Counter(said for *_, said in outcomes), "back, s": back}))
        whole = sum(said == "ok" for *_, said in outcomes)
        return 0 if back is not None and whole > len(outcomes) / 2 else 1
    finally:
        launcher.kill_all()


@dataclass
class Round:
    """Two faults: (part, signal) each, in a stage, so many seconds apart."""

    stage: str
    faults: list[tuple[str, signal.Signals]]
    apart: float

    def __str__(self) -> str:
        return f"{self.stage}: " + " + ".join(f"{part} {fault.name}" for part, fault in self.faults)


def draw_round(draw: random.Random) -> Round:
    faults = [(draw.choice(PARTS), draw.choice(FAULTS)) for _ in range(2)]
    return Round(draw.choice(STAGES), faults, draw.choice((0.0, 0.0, 1.0, 3.0)))


def name_of(process: Process, part: str) -> str:
    """The part's name in the job's record, or the beginning of it."""
    if part == "dynamo.frontend":
        return "frontend"
    roles = (role for role in ("prefill", "decode") if any(role in word for word in process.argv))
    return next(roles, part.removesuffix("-server"))


def hit(run: Run, faults: Round) -> tuple[list[Process], list[str]]:
    """Do it; the processes that must be gone then, and the names of the parts."""
    gone, names = [], []
    for number, (part, fault) in enumerate(faults.faults):
        time.sleep(faults.apart if number else 0)
        deadline = time.monotonic() + 3
        while not (found := victims(run, part)) and time.monotonic() < deadline and not ended(run):
            time.sleep(0.1)
        if not found:
            continue
        try:
            os.kill(found[0].pid, fault)
        except ProcessLookupError:
            continue
        names.append(name_of(found[0], part))
        if "mocker_rank" not in part:  # it is no server: the mocker that it started answers for it
            gone.append(found[0])
    return gone, names


def outcome(run: Run, gone: list[Process], names: list[str]) -> tuple[bool, str]:
    """Whether the round ended well within the limit, and how."""
    begin, pids = time.monotonic(), {p.pid for p in gone}
    while time.monotonic() - begin < LIMIT:
        if ended(run):
            time.sleep(3)
            left = [*map(str, run.launcher.processes(run.job)), *map(str, run.launcher.scratch.glob("sgl-launch*"))]
            last = run.output.splitlines()[-1]
            said = last + run.output.partition("last lines of")[2]
            return not left and any(name in said.lower() for name in names), f"ended: {last} {left or ''}"
        living = pids & {p.pid for p in run.launcher.processes(run.job)}
        if not living and ("serve", "started") in [e[:2] for e in run.events()] and is_whole(run) and answers(run, 1):
            return True, f"serves after {time.monotonic() - begin:.1f} s"
        time.sleep(0.5)
    return False, f"neither served nor ended in {LIMIT:g} s"


def double(rounds: int, seed: int, seconds: float) -> int:
    draw, results, until = random.Random(seed), Counter[str](), time.monotonic() + seconds
    run: Run | None = None
    launcher = Launcher(Path(tempfile.mkdtemp()))
    options = (*SMALL, RULES, "--set=timeouts={ready: 20, services: 20}")
    try:
        for turn in range(rounds):
            if time.monotonic() > until:
                break
            this = draw_round(draw)
            if run is not None and this.stage != "serve":
                launcher("cancel", run.job)
                launcher.wait_gone(10)
                run = None
            if run is None:
                run = launcher.start(*options, wait=None)
                run.wait_event(this.stage, "started", 60)
                assert this.stage != "serve" or answers(run, 10) is not None, "no answer before the faults"
            gone, names = hit(run, this)
            good, how = outcome(run, gone, names)
            results["good" if good else "BAD"] += 1
            print(f"{turn + 1:4} {'ok ' if good else 'BAD'} {this}: {how}", flush=True)
            if not good:
                print(run.output, [*run.events()][-30:], *launcher.processes(run.job), sep="\n", flush=True)
                launcher.kill_all()
            if not good or ended(run):
                run = None
        print(json.dumps(results))
        return 1 if results["BAD"] else 0
    finally:
        launcher.kill_all()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("soak")
    one.add_argument("--seconds", type=float, default=3600)
    one.add_argument("--restarts", type=int, default=100)
    two = kinds.add_parser("double")
    two.add_argument("--rounds", type=int, default=200)
    two.add_argument("--seed", type=int, default=1)
    two.add_argument("--seconds", type=float, default=1e9, help="no round is begun after so long")
    asked = parser.parse_args()
    if asked.kind == "soak":
        return soak(asked.seconds, asked.restarts)
    return double(asked.rounds, asked.seed, asked.seconds)


if __name__ == "__main__":
    sys.exit(main())
