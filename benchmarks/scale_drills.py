"""Drills with a deployment in pieces on a real Slurm cluster: worker groups in jobs of their own join it and leave it.

    python benchmarks/scale_drills.py [WORD...]       all drills, or those whose name has one of the words (root)

Real Slurm, NATS, etcd, Caddy and Dynamo; the workers are Dynamo's mocker. Each drill ends with `cancel`, and counts
what is left in the queue, of processes on nodes, and of scratch folders.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.service_rig import Drill, Load, run_drills, whole  # noqa: E402
from tests.slurm.cluster import Cluster, wait_until  # noqa: E402
from tests.slurm.deploy import Launcher, scratch_folders, small  # noqa: E402


class Deployment:
    """One of a drill: 1 prefill and 2 decode groups, the second one a piece; a node for each group."""

    name = "small"

    def __init__(self, cluster: Cluster, folder: Path, **changes: Any) -> None:
        self.cluster, self.launcher, self.runs = cluster, Launcher(cluster, folder), folder / "runs"
        config = json.loads(small(decode=(2, 1), gpus_per_node=1))
        config |= {"mocker": {"speedup-ratio": 0.1}, "timeouts": {"drain": 30}}
        config["slurm"]["time"] = "00:20:00"
        config["warmup"]["requests"] = {"prompt_tokens": [64], "concurrency": [2], "output_tokens": [4], "timeout": 60}
        self.file = self.launcher.write(json.dumps(config | changes))
        self.head = ""

    def said(self, *words: str) -> str:
        done = self.launcher(*words, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, *words: str) -> list[str]:
        """In pieces; returns the ids of its jobs."""
        jobs = re.findall(r"job (\d+)", self.said("submit", self.file, "--pieces", *words))
        self.head = jobs[0]
        return jobs

    def start(self) -> str:
        """In pieces, warm and joined; returns the id of the piece."""
        _, piece = self.submit()
        self.wait_joined(piece)
        what = f"{self.name} to be warm"
        wait_until(lambda: '"serve", "state": "started"' in (self.run / "events.jsonl").read_text(), 120, what)
        return piece

    def scale(self, *words: str) -> list[str]:
        return re.findall(r"job (\d+)", self.said("scale", self.name, *words))

    @property
    def run(self) -> Path:
        return self.runs / f"{self.name}-{self.head}"

    @property
    def url(self) -> str:
        return str(json.loads((self.run / "endpoint.json").read_text())["url"])

    @property
    def key(self) -> str:
        return (self.run / "secrets" / "endpoint-key").read_text()

    def said_of(self, job: str, role: str = "decode") -> str:
        out = self.runs / f"{self.name}-{role}-{job}.out"
        return out.read_text() if out.exists() else ""

    def wait_joined(self, *jobs: str, role: str = "decode", timeout: float = 90) -> None:
        for job in jobs:
            what = f"{job} to join:\n{self.said_of(job, role)[-1500:]}"
            wait_until(lambda job=job: "joined:" in self.said_of(job, role), timeout, what)

    def jobs(self) -> list[str]:
        return sorted(self.cluster.run(["squeue", "-h", "-o", "%i %T %D"]).stdout.splitlines())

    def nodes(self) -> int:
        return sum(int(line.split()[2]) for line in self.jobs())

    def wait_gone(self, *jobs: str, timeout: float = 90) -> float:
        """When squeue shows none of these any more."""
        wait_until(lambda: not {line.split()[0] for line in self.jobs()} & set(jobs), timeout, f"{jobs} to end")
        return time.time()

    def ended(self, job: str) -> float:
        """When Slurm says that a job ended: its nodes were free then."""
        said = self.cluster.run(["scontrol", "show", "job", job]).stdout
        return time.mktime(time.strptime(re.findall(r"EndTime=(\S+)", said)[0], "%Y-%m-%dT%H:%M:%S"))

    def event(self, job: str, state: str, role: str = "decode") -> float:
        for line in (self.runs / f"{self.name}-{role}-{job}" / "events.jsonl").read_text().splitlines():
            event = json.loads(line)
            if (event["stage"], event["state"]) == ("piece", state):
                return float(event["time"])
        raise KeyError(state)


def up_and_down(cluster: Cluster, folder: Path) -> str:
    d = Deployment(cluster, folder, mocker={"speedup-ratio": 0.05})
    began = time.time()
    _, second = d.submit()
    d.wait_joined(second)
    two = time.time() - began
    load = Load(d, 1600, 160, d.url, longest=40, rate=6.0)
    time.sleep(20)
    began = time.time()
    more = d.scale("decode=4")
    assert len(more) == 2, more
    d.wait_joined(*more)
    four = time.time() - began
    status = d.said("status", d.name)
    assert status.count("joined: decode-0") == 3, status
    nodes = [d.nodes()]
    time.sleep(20)
    gone = d.scale("decode=1")
    assert sorted(gone) == sorted([second, *more]), gone
    returned, drained = [], []
    for job in gone:
        d.wait_gone(job, timeout=150)
    for job in gone:
        returned.append(d.ended(job) - d.event(job, "left"))
        drained.append(d.event(job, "left") - d.event(job, "leaving"))
    nodes.append(d.nodes())
    found = load.outcomes()
    assert set(found["outcomes"]) == {"whole"}, found
    assert max(returned) < 10, returned
    return (f"2 groups {two:.0f} s after `submit --pieces`, 4 {four:.0f} s after `scale`; drained in "
            f"{min(drained):.1f} to {max(drained):.1f} s, nodes back {max(returned):.1f} s after the drain's end at "
            f"most; {whole(found)}, {found['at_once']} at once; {nodes[0]} nodes, then {nodes[1]}")  # fmt: skip


def prefill_too(cluster: Cluster, folder: Path) -> str:
    d = Deployment(cluster, folder)
    d.start()
    load = Load(d, 150, 75, d.url)
    (more,) = d.scale("prefill=2")
    d.wait_joined(more, role="prefill")
    time.sleep(5)
    log = (d.runs / f"small-prefill-{more}" / "logs" / "prefill-0-0.log").read_text()
    assert d.scale("prefill=1", "decode=2") == [more]
    d.wait_gone(more)
    took = d.ended(more) - d.event(more, "left", "prefill")
    found = load.outcomes()
    assert set(found["outcomes"]) == {"whole"}, found
    assert log
    return f"a prefill group joined and left: {whole(found)}; its node back {took:.1f} s after its requests' end"


def a_piece_dies(cluster: Cluster, folder: Path) -> str:
    d = Deployment(cluster, folder)
    piece = d.start()
    said = []

    def lose(how: str, word: str = "") -> None:
        """Under load; with a word, the processes of the piece's node that have it in their argv are killed."""
        load = Load(d, 100, 30, d.url)
        time.sleep(12)
        if word:
            cluster.kill_processes(host, [p for p in cluster.processes(host) if word in p.argv])
        elif how == "scancel":
            cluster.run(["scancel", piece])
        else:
            cluster.node_kill(host)
        said.append(f"{how}: {whole(load.outcomes())}")
        print(said[-1], flush=True)
        status = d.said("status", d.head)
        assert "serving: prefill 1/1, decode 1/1" in status, status

    host = (d.runs / f"small-decode-{piece}" / "hosts").read_text().split()[1]
    lose("its worker killed", "launcher.job.mocker_rank")
    wait_until(lambda: d.said_of(piece).count("joined:") == 2, 60, f"it to be back:\n{d.said_of(piece)[-900:]}")
    for how, word in (("its job's supervisor killed", "run"), ("scancel", "")):
        lose(how, word)
        d.wait_gone(piece)
        (piece,) = d.scale("decode=2")
        d.wait_joined(piece)
        host = (d.runs / f"small-decode-{piece}" / "hosts").read_text().split()[1]
    lose("its node killed")
    cluster.node_boot(host)
    cluster.run("rm -rf /tmp/sgl-launch-*", host, cwd="/")  # a machine that fell over tidies nothing
    return "; ".join(said)


def the_deployment_ends(cluster: Cluster, folder: Path) -> str:
    d = Deployment(cluster, folder)
    second = d.start()
    began = time.time()
    cluster.run(["scancel", d.head])
    d.wait_gone(d.head, second)
    said = d.said_of(second)
    return f"its piece ended by itself {time.time() - began:.0f} s later: {re.findall(r'leaving: (.*)', said)[0]!r}"


def cancel_in_every_phase(cluster: Cluster, folder: Path) -> str:
    took = []

    def cancelled(d: Deployment, phase: str) -> None:
        began = time.monotonic()
        d.said("cancel", d.name)
        assert not d.jobs(), (phase, d.jobs())
        took.append(f"{phase} {time.monotonic() - began:.1f} s")
        left = cluster.left_over(timeout=3)
        assert not left, (phase, left)
        assert not scratch_folders(cluster), (phase, scratch_folders(cluster))

    d = Deployment(cluster, folder)
    d.submit()
    cancelled(d, "just queued")
    _, second = d.submit()
    wait_until(lambda: "ready ..." in d.said_of(second), 60, "its start")
    cancelled(d, "the piece is becoming warm")
    second = d.start()
    cancelled(d, "joined")
    second = d.start()
    d.scale("decode=4")
    cancelled(d, "two more just queued")
    second = d.start()
    load = Load(d, 20, 2, d.url)
    time.sleep(3)
    assert d.scale("decode=1") == [second]
    wait_until(lambda: "leaving" in d.said_of(second), 20, "it to leave")
    cancelled(d, "leaving, streams running")
    load.outcomes()
    return "; ".join(took)


DRILLS: tuple[Drill, ...] = (up_and_down, prefill_too, a_piece_dies, the_deployment_ends, cancel_in_every_phase)


def end(cluster: Cluster, folder: Path) -> None:
    Launcher(cluster, folder)("cancel", "small", timeout=90)


if __name__ == "__main__":
    sys.exit(run_drills(DRILLS, 6, 1, end))
