"""sgl-launch --cluster local, and the processes that it started on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
SGL_LAUNCH = Path(sys.executable).with_name("sgl-launch")
DEMO = ROOT / "configs" / "local.yaml"
# one prefill and one decode worker, no warm-up: quick to start
SMALL = (
    "--set=prefill.workers=1",
    "--set=decode.workers=1",
    "--set=warmup.requests.enabled=false",
)


def wait_until(condition: Callable[[], T], timeout: float, what: str) -> T:
    """Call condition until it is true and return what it returned. Raises TimeoutError."""
    end = time.monotonic() + timeout
    while not (last := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout:g} s for {what}; last seen: {last!r}")
        time.sleep(0.05)
    return last


@dataclass(frozen=True)
class Process:
    pid: int
    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.pid} {' '.join(self.argv)[:200]}"


@dataclass(frozen=True)
class Launcher:
    """sgl-launch as a user calls it in a folder. All it starts carries a mark in its environment,
    by which it is found again."""

    folder: Path
    mark: str = field(default_factory=lambda: f"{os.getpid()}-{uuid.uuid4().hex}")

    @property
    def scratch(self) -> Path:
        """Where its jobs keep what they do not want after their end."""
        return self.folder / "scratch"

    @property
    def env(self) -> dict[str, str]:
        site = self.folder / "site.yaml"  # so that this machine's own is not read
        site.write_text("runs: runs\n")
        self.scratch.mkdir(exist_ok=True)
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SGL_", "SLURM_"))},
            "SGL_LAUNCH_SITE": str(site),
            "SGL_LAUNCH": str(SGL_LAUNCH),
            "TEST_MARK": self.mark,
            "TMPDIR": str(self.scratch),
        }

    def __call__(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SGL_LAUNCH), *words],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, *options: str, wait: str | None = "ready", config: Path = DEMO) -> Run:
        """Submit, and wait until it is ready (or what is asked); fails when it does not get there."""
        words = ["submit", str(config), "--cluster", "local", *options]
        if wait:
            words += ["--wait", wait, "--timeout", "60"]
        done = self(*words, timeout=90)
        found = re.search(r"job (L\d+), (\S+)", done.stdout)
        assert found, done.stdout + done.stderr
        run = Run(self, Path(found[2]))
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{run.output}"
        return run

    def processes(self, job: str = "") -> list[Process]:
        """Everything that runs on this machine and was started from here, but zombies; of one
        job, if it is given."""
        wanted = [f"TEST_MARK={self.mark}".encode()]
        if job:
            wanted.append(f"LAUNCH_JOB={job}".encode())
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                env = entry.joinpath("environ").read_bytes().split(b"\0")
                argv = entry.joinpath("cmdline").read_bytes()
            except OSError:
                continue  # ended meanwhile
            if all(item in env for item in wanted):  # a zombie has no environment
                words = argv.rstrip(b"\0").decode(errors="replace").split("\0")
                found.append(Process(int(entry.name), tuple(words)))
        return found

    def wait_gone(self, timeout: float, job: str = "") -> None:
        """Wait until no process is left. Raises TimeoutError (seconds), which lists those that are."""
        left: list[Process] = []

        def gone() -> bool:
            left[:] = self.processes(job)
            return not left

        try:
            wait_until(gone, timeout, "all processes to be gone")
        except TimeoutError:
            lines = "\n  ".join(str(process) for process in left)
            raise TimeoutError(f"left after {timeout:g} s:\n  {lines}") from None

    def kill_all(self) -> list[Process]:
        """For after a test: kill what is left, and return it."""
        left = self.processes()
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return left


@dataclass(frozen=True)
class Run:
    """One local job, by its run folder."""

    launcher: Launcher
    path: Path

    @property
    def job(self) -> str:
        return self.path.name.rpartition("-")[2]

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

    @property
    def pid(self) -> int:
        """The script's."""
        return int(self.json("local.json")["pid"])

    def events(self) -> list[tuple[str, str, str]]:
        """(stage, state, detail) in order."""
        file = self.path / "events.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [(event["stage"], event["state"], event["detail"]) for event in found]

    def wait_event(self, stage: str, state: str, timeout: float = 30) -> None:
        """Fails, with the job's output, if it does not come within timeout seconds or the job
        ends before."""
        wanted = (stage, state)
        end = time.monotonic() + timeout
        while wanted not in (seen := [event[:2] for event in self.events()]):
            ended = ("stop", "done") in seen
            if ended or time.monotonic() > end:
                raise AssertionError(f"no {stage} {state}:\n{self.output}")
            time.sleep(0.05)

    def status(self) -> dict[str, Any]:
        done = self.launcher("status", str(self.path), "--json")
        assert done.returncode == 0, done.stderr
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def workers(self, role: str) -> set[int]:
        """Ids under which the workers of a role registered in etcd."""
        return {
            int(detail, 16)
            for stage, state, detail in self.events()
            if state == "registered" and stage.startswith(role)
        }

    def chat(self) -> dict[str, Any]:
        """Ask; fails unless a prefill and a decode worker of this job answered, in a stream."""
        words = [sys.executable, str(ROOT / "tests" / "chat.py"), self.url, "tiny"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env={"OPENAI_API_KEY": self.key})
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert answer["text"], answer
        assert answer["pieces"] > 1, answer
        assert answer["prefill"] in self.workers("prefill"), (answer, self.events())
        assert answer["decode"] in self.workers("decode"), (answer, self.events())
        return answer

    def rank(self, group: str) -> Process:
        """The process of a group's rank 0."""
        (found,) = [
            process
            for process in self.launcher.processes(self.job)
            if "launcher.job.mocker_rank" in process.argv and group in process.argv
        ]
        return found
