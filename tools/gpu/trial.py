"""A deployment on this machine's GPUs, submitted, used, hit and ended; prints what happened and when.

    python tools/gpu/trial.py CONFIG [--slurm NODES] [--hit STAGE/NODE/TEXT[/SIGNAL] ...] [OPTIONS OF submit]

Local by default. With --slurm, real Slurm whose nodes are namespaces of this machine with one GPU each
(tests/slurm/cluster). --hit sends a signal (KILL) to the first process on NODE (`-` when local) that has TEXT in its
command line, and waits until STAGE (a worker group, or frontend, nats, etcd) is back and, for a group, warm; clients
ask all along.
Runs from the repository's root, as root. Files of the run go to $OUT.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.slurm.cluster import Cluster  # noqa: E402

BEGIN = time.time()
SGL_LAUNCH = shutil.which("sgl-launch") or str(Path(sys.executable).with_name("sgl-launch"))


def say(*words: object) -> None:
    print(f"[{time.time() - BEGIN:6.1f}]", *words, flush=True)


class Local:
    """This machine, without Slurm."""

    nodes = ("-",)
    options = ("--cluster", "local")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def popen(self, argv: Sequence[str], node: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(argv, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def processes(self, node: str) -> list[tuple[int, str, int]]:
        """Pid, command line and session of every process."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if entry.name.isdecimal() and words:
                found.append((int(entry.name), words, int(fields[3])))
        return found

    def send(self, node: str, pid: int, name: str) -> None:
        os.kill(pid, getattr(signal, f"SIG{name}"))

    def drain(self, job: str, run: Path) -> None:
        leader = json.loads((run / "local.json").read_text())["pid"]
        os.kill(leader, signal.SIGUSR2)

    def down(self) -> None:
        pass


class Slurm:
    options = ()

    def __init__(self, folder: Path, nodes: int, real: bool) -> None:
        self.folder = folder
        shutil.rmtree(folder.with_name("slurm"), ignore_errors=True)
        self.cluster = Cluster.up(
            nodes, 1, real_gpus=real, state=folder.with_name("slurm"), share=folder, memory_mb=100_000
        )
        self.nodes = tuple(self.cluster.hosts)
        say(nodes, "nodes idle")

    def popen(self, argv: Sequence[str], node: str = "login") -> subprocess.Popen[str]:
        return self.cluster.popen(argv, node, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def processes(self, node: str) -> list[tuple[int, str, int]]:
        return [(p.pid, " ".join(p.argv), 0) for p in self.cluster.processes(node)]

    def send(self, node: str, pid: int, name: str) -> None:
        self.cluster.run(["kill", f"-{name}", str(pid)], node)

    def drain(self, job: str, run: Path) -> None:
        self.cluster.run(["scancel", "--batch", "--signal=USR2", job])

    def down(self) -> None:
        self.cluster.down()


class Trial:
    def __init__(self, where: Local | Slurm) -> None:
        self.where = where

    def run(self, argv: Sequence[str], limit: float = 120) -> tuple[int, str]:
        process = self.where.popen(argv)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        return process.returncode, output or ""

    def sgl(self, *words: str, limit: float = 120) -> str:
        status, output = self.run([SGL_LAUNCH, *words], limit)
        say("$ sgl-launch", " ".join(words), "->", status)
        print(output[-3500:], flush=True)
        return output

    def events(self, run: Path, since: float = 0) -> list[dict[str, Any]]:
        lines = (run / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["time"] >= since]

    def wait(self, run: Path, since: float, stage: str, states: Sequence[str], limit: float) -> dict[str, Any] | None:
        end = time.time() + limit
        while time.time() < end:
            for event in self.events(run, since):
                if event["stage"] == stage and event["state"] in states:
                    return event
            time.sleep(0.05)
        return None

    def of_run(self, run: Path, node: str, stage: str = "") -> list[tuple[int, str, int]]:
        """The run's processes on a node. On this machine others' may look alike: only what the run started."""
        found = self.where.processes(node)
        if node == "-":
            lines = [line.split() for line in (run / "processes").read_text().splitlines()]
            leaders = {int(words[0]) for words in lines if words[1].startswith(stage)}
            found = [p for p in found if p[2] in leaders]
        return found

    def hit(self, run: Path, job: str, target: str) -> None:
        stage, node, text, *name = target.split("/")
        found = [
            p
            for p in self.of_run(run, node, f"{stage}-")
            if text in p[1] and not p[1].startswith("srun ") and "trial.py" not in p[1]
        ]
        if not found:
            say("nothing to hit for", target, [p[1][:60] for p in self.where.processes(node)])
            return
        endpoint = json.loads((run / "endpoint.json").read_text())
        url = endpoint.get("url") or f"http://{endpoint['address']}:{endpoint['port']}"
        words = [sys.executable, str(HERE / "clients.py"), url, endpoint["model"], "8"]
        key = run / "secrets" / "endpoint-key"
        clients = self.where.popen([*words, "--key-file", str(key)] if key.exists() else words)
        time.sleep(3)
        since = time.time()
        self.where.send(node, found[0][0], name[0] if name else "KILL")
        say("hit", target, found[0][1][:70])
        steps = [("noticed", ("lost", "restarting"), 60.0), ("in service again", ("ready",), 180.0)]
        if stage not in ("frontend", "front", "nats", "etcd"):
            steps.append(("warm again", ("warm", "not warm"), 90.0))
        for what, states, limit in steps:
            event = self.wait(run, since, stage, states, limit)
            say(stage, what, "after", event and (round(event["time"] - since, 2), event["state"], event["detail"]))
        time.sleep(3)
        clients.terminate()
        say("clients saw", clients.communicate(timeout=130)[0])
        self.sgl("status", job)

    def play(self, config: str, hits: Sequence[str], end: str, timeout: int, options: Sequence[str]) -> None:
        submit = ("submit", str(Path(config).resolve()), "--wait", "warm", "--timeout", str(timeout))
        output = self.sgl(*submit, *self.where.options, *options, limit=timeout + 60)
        found = re.search(r"job (L?\d+)", output)
        if not found:
            return
        job = found[1]
        run = Path(output.partition(f"job {job}, ")[2].split()[0])
        try:
            self.sgl("status", job)
            self.sgl("chat", job, "--message", "Tell me of nodes.")
            for target in hits:
                self.hit(run, job, target)
        finally:
            self.end(run, job, end)

    def end(self, run: Path, job: str, how: str) -> None:
        since = time.time()
        if how == "drain":
            stream = self.where.popen([SGL_LAUNCH, "chat", job, "--message", "A long tale."])
            time.sleep(0.8)  # the client has to start
            self.where.drain(job, run)
            text, _ = stream.communicate(timeout=60)
            say("the stream that the drain met:", len(text), "characters, exit status", stream.returncode)
            self.sgl("wait", job, "--for", "done", "--timeout", "120")
        else:
            self.sgl("cancel", job)
        say(how, "took", round(time.time() - since, 2), "s")
        left = [(node, p[1][:80]) for node in self.where.nodes for p in self.of_run(run, node)]
        say("left:", left)
        begin = self.events(run)[0]["time"]
        for event in self.events(run):
            after, detail = event["time"] - begin, event.get("detail", "")[:150]
            print(f"{after:8.2f} {event['stage']:12} {event['state']:12} {detail}")
        if out := os.environ.get("OUT"):
            subprocess.run(["tar", "czf", f"{out}/{run.name}.tgz", "-C", run.parent, run.name, f"{run.name}.out"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--slurm", type=int, metavar="NODES")
    parser.add_argument("--fake-gpus", action="store_true", help="a rehearsal of the trial without GPUs")
    parser.add_argument("--hit", action="append", default=[], metavar="STAGE/NODE/TEXT[/SIGNAL]")
    parser.add_argument("--folder", type=Path, default=Path("/root/trial"), help="where it runs; not below /tmp")
    parser.add_argument("--timeout", type=int, default=480, help="seconds until warm")
    parser.add_argument("--end", choices=("cancel", "drain"), default="cancel")
    parser.add_argument("--preflight", action="store_true", help="try the nodes and their network, and no more (Slurm)")
    args, options = parser.parse_known_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    where = Slurm(args.folder, args.slurm, not args.fake_gpus) if args.slurm else Local(args.folder)
    try:
        if args.preflight:
            Trial(where).sgl("preflight", str(Path(args.config).resolve()), *options, limit=300)
        else:
            Trial(where).play(args.config, args.hit, args.end, args.timeout, options)
    finally:
        where.down()


if __name__ == "__main__":
    main()
