"""sgl-launch on the login node of a test cluster, and what its jobs leave to look at."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from .cluster import Cluster, Process, live_clusters, wait_until

ROOT = Path(__file__).resolve().parents[2]
SGL_LAUNCH = Path(sys.executable).with_name("sgl-launch")
CHAT = ROOT / "tests" / "chat.py"
MODEL = "deepseek-ai/DeepSeek-R1"

# configs/dsr1.yaml without GPUs and containers: the layout and all processes but the engine stay.
REHEARSAL = (
    "engine=mocker",
    "container.runtime=none",
    "container.image=null",
    f"model.path={ROOT}/configs/tiny-model",
    "slurm.partition=null",
    "slurm.mem=null",
    "mocker={speedup-ratio: 100}",
    "warmup.requests={prompt_tokens: [64], concurrency: [4], output_tokens: [8], timeout: 60}",
    "prefill.args.chunked-prefill-size=8192",
)
NO_WARMUP = "warmup.requests.enabled=false"


def small(prefill: tuple[int, int] = (1, 1), decode: tuple[int, int] = (1, 1), gpus_per_node: int = 8) -> str:
    """A config, without a warm-up, that shares its nodes: (workers, GPUs of each) of both roles."""
    roles = {
        name: {"workers": workers, "args": {"tp-size": gpus, "page-size": 16}}
        for name, (workers, gpus) in (("prefill", prefill), ("decode", decode))
    }
    return json.dumps(  # JSON is YAML
        {
            "name": "small",
            "engine": "mocker",
            "model": {"path": f"{ROOT}/configs/tiny-model", "served_name": MODEL},
            "slurm": {"gpus_per_node": gpus_per_node, "cpus-per-task": 4},
            **roles,
            "mocker": {"speedup-ratio": 100},
            "frontend": {"port": "auto"},
            "warmup": {"requests": {"enabled": False}},
        },
        indent=1,
    )


@dataclass(frozen=True)
class Launcher:
    """sgl-launch as a user of the login node calls it, in a folder that every node sees."""

    cluster: Cluster
    folder: Path
    program: Path = SGL_LAUNCH

    def __call__(self, *words: str, timeout: float = 60, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
        site = self.folder / "site.yaml"  # so that this machine's own is not read
        site.write_text("runs: runs\n")
        return self.cluster.run(
            [str(self.program), *words],
            cwd=self.folder,
            env={"SGL_LAUNCH_SITE": str(site), **(env or {})},
            timeout=timeout,
        )

    def write(self, config: str, name: str = "small.yaml") -> str:
        """Write a config file; returns its name."""
        self.folder.joinpath(name).write_text(config)
        return name

    def start(
        self,
        config: str,
        *options: str,
        sets: Sequence[str] = (),
        wait: str | None = "ready",
        sbatch: Sequence[str] = (),
    ) -> Run:
        """Submit, and wait until it is ready (or what is asked). Fails when it does not get there,
        with all that was said."""
        words = ["submit", config, *options, *(f"--set={item}" for item in sets)]
        if wait:
            words += ["--wait", wait, "--timeout", "60"]
        done = self(*words, "--", *sbatch, timeout=90)
        found = re.search(r"job (\d+), (\S+)", done.stdout)
        assert found, done.stdout + done.stderr
        run = Run(self, Path(found[2]))
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{run.output}"
        return run


@dataclass(frozen=True)
class Run:
    """One job of sgl-launch, by its run folder."""

    launcher: Launcher
    path: Path

    @property
    def job(self) -> int:
        return int(self.path.name.rpartition("-")[2])

    @property
    def name(self) -> str:
        return self.path.name.rpartition("-")[0]

    @property
    def output(self) -> str:
        """The job's own output so far."""
        out = self.path.with_name(f"{self.path.name}.out")
        return out.read_text() if out.exists() else ""

    def json(self, file: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.path.joinpath(file).read_text())
        return loaded

    @property
    def url(self) -> str:
        return str(self.json("endpoint.json")["url"])

    @property
    def key(self) -> str:
        return (self.path / "secrets" / "endpoint-key").read_text()

    def port(self, what: str, group: str = "") -> int:
        """The number of a planned port: of `nats`, `etcd` or `frontend`, or one of a group's."""
        plan = self.json("plan.json")
        if group:
            (found,) = [g for g in plan["groups"] if g["name"] == group]
            planned = found["ports"][what]
        else:
            planned = {**plan["services"], "frontend": plan["frontend"]}[what]["port"]
        base = int(self.json("placement.json")["port_base"])
        return planned if isinstance(planned, int) else base + int(planned.removeprefix("P+"))

    def events(self) -> list[tuple[str, str, str]]:
        """(stage, state, detail) in order."""
        file = self.path / "events.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        found = [json.loads(line) for line in lines]
        return [(event["stage"], event["state"], event["detail"]) for event in found]

    def event_time(self, stage: str, state: str) -> float:
        for line in self.path.joinpath("events.jsonl").read_text().splitlines():
            event = json.loads(line)
            if (event["stage"], event["state"]) == (stage, state):
                return float(event["time"])
        raise KeyError((stage, state))

    def has(self, stage: str, state: str) -> bool:
        return any(event[:2] == (stage, state) for event in self.events())

    def wait_event(self, stage: str, state: str, timeout: float = 30) -> None:
        wait_until(lambda: self.has(stage, state), timeout, f"{stage} {state} of {self.path.name}")

    def log(self, name: str) -> str:
        return self.path.joinpath("logs", f"{name}.log").read_text()

    def status(self) -> dict[str, Any]:
        done = self.launcher("status", str(self.path), "--json")
        assert done.returncode == 0, done.stderr
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def ranks(self) -> dict[str, dict[str, str]]:
        """What each rank said of itself: `prefill-0:1` to its group, rank, nnodes,
        dist-init-addr, host and address."""
        found = {}
        for path in self.path.joinpath("logs").glob("*.log"):
            for line in path.read_text().splitlines():
                if line.startswith("rank: "):
                    fields = dict(word.split("=", 1) for word in line.split()[1:])
                    key = f"{fields['group']}:{fields['rank']}"
                    assert key not in found, f"two processes call themselves {key}"
                    found[key] = fields
        return found

    def workers(self, role: str) -> set[int]:
        """Ids under which the workers of a role registered in etcd."""
        return {
            int(detail, 16)
            for stage, state, detail in self.events()
            if state == "registered" and stage.startswith(role)
        }

    def chat(self, node: str, url: str | None = None) -> dict[str, Any]:
        """Ask from a node; fails unless a prefill and a decode worker of this job answered."""
        env = {"OPENAI_API_KEY": self.key}
        done = self.launcher.cluster.run([sys.executable, str(CHAT), url or self.url, MODEL], node, env=env)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert answer["text"], answer
        assert answer["pieces"] > 1, answer
        assert answer["prefill"] in self.workers("prefill"), (answer, self.events())
        assert answer["decode"] in self.workers("decode"), (answer, self.events())
        return answer

    def rank_processes(self, node: str, group: str) -> list[Process]:
        """The processes of a group's rank on a node: the rank itself first."""
        cluster = self.launcher.cluster
        return [
            process
            for process in cluster.processes(node)
            if "launcher.job.mocker_rank" in process.argv and group in process.argv
        ]


def environ(cluster: Cluster, node: str, process: Process) -> dict[str, str]:
    """The environment that a process of a node was started with."""
    text = cluster.run(["cat", f"/proc/{process.pid}/environ"], node, check=True).stdout
    return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)


def program(process: Process | None) -> str:
    """What a process runs: the last part of its argv[0], or the module after -m."""
    if process is None:
        return ""
    if "-m" in process.argv[:3]:
        return process.argv[process.argv.index("-m") + 1]
    return process.argv[0].rpartition("/")[2]


def scratch_folders(cluster: Cluster) -> list[str]:
    """Scratch folders of jobs that are still on some node; what compilers keep stays there."""
    found = []
    for node in cluster.hosts:
        listed = cluster.run("ls -d /tmp/sgl-launch* 2>/dev/null | grep -v /sgl-launch-kernels-", node, cwd="/").stdout
        found += [f"{node}:{line}" for line in listed.split()]
    return found


def check_nothing_left(cluster: Cluster) -> None:
    """No process of the job and none of its files in /tmp, on any node, shortly after its end."""
    assert cluster.left_over(timeout=1) == {}
    assert scratch_folders(cluster) == []


@contextmanager
def shared_folder(cluster: Cluster) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir=cluster.share))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def reset_all() -> list[str]:
    """Make every cluster as new; returns the processes that were left, a line each."""
    return [
        f"{node}: {process}"
        for one in live_clusters()
        for node, processes in one.reset().items()
        for process in processes
    ]
