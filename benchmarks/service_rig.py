"""What the drills of services work with on a real Slurm cluster: a service, a gateway and clients under way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.slurm.cluster import LOGIN, Cluster, wait_until  # noqa: E402
from tests.slurm.deploy import MODEL, SGL_LAUNCH, Launcher, scratch_folders, shared_folder, small  # noqa: E402

PORT = 8000
RATE = 12.0  # tokens a second of one of the mocker's streams


class Service:
    """One service of a drill."""

    def __init__(self, cluster: Cluster, folder: Path, name: str = "small", **changes: Any) -> None:
        self.cluster, self.folder, self.name, self.launcher = cluster, folder, name, Launcher(cluster, folder)
        self.config = json.loads(small())
        self.config |= {"name": name, "mocker": {"speedup-ratio": 0.1}, "timeouts": {"drain": 30}}
        self.config["slurm"]["time"] = "00:20:00"
        self.config |= changes
        self.runs = folder / "runs"

    def serve(self, *words: str, **changes: Any) -> str:
        """Submit, with changes of the config; returns the job's id."""
        self.config |= changes
        file = self.launcher.write(json.dumps(self.config), f"{self.name}.yaml")
        done = self.launcher("serve", file, "--for", "1h", *(words or ("--lead", "30")))
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"job (\d+)", done.stdout)[0]

    def url(self) -> str:
        done = self.launcher("endpoint", self.name)
        return done.stdout.split("/v1")[0] if done.returncode == 0 else ""

    def run_of(self, job: str) -> Path:
        return self.runs / f"{self.name}-{job}"

    def said(self, job: str) -> str:
        out = self.runs / f"{self.name}-{job}.out"
        return out.read_text() if out.exists() else ""

    def wait_said(self, job: str, text: str, timeout: float = 90) -> float:
        wait_until(lambda: text in self.said(job), timeout, f"{text!r} of {self.name}-{job}:\n{self.said(job)[-1500:]}")
        return time.time()

    def wait_serving(self, timeout: float = 90) -> str:
        wait_until(lambda: self.url(), timeout, f"{self.name} to serve")
        return self.url()

    @property
    def key(self) -> str:
        return (self.runs / f"{self.name}.service" / "endpoint-key").read_text()

    def status(self) -> str:
        return self.launcher("status", self.name).stdout

    def cancel(self) -> float:
        began = time.monotonic()
        done = self.launcher("cancel", self.name, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        return time.monotonic() - began

    def jobs(self) -> list[str]:
        """Those that Slurm has not ended: `ID STATE REASON`."""
        said = self.cluster.run(["squeue", "-h", "-o", "%i %T %r", "-n", self.name]).stdout
        return sorted(said.splitlines())

    @contextmanager
    def gateway(self, *others: Service) -> Iterator[Gateway]:
        made = Gateway(self, [self.name, *(one.name for one in others)])
        try:
            made.start()
            yield made
        finally:
            made.end()


class Gateway:
    """`sgl-launch gateway` on the login node."""

    url = f"http://127.0.0.1:{PORT}"

    def __init__(self, service: Service, names: list[str]) -> None:
        self.service, self.names, self.log = service, names, service.folder / "gateway.log"

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = self.service.cluster.popen(
                [str(SGL_LAUNCH), "gateway", *self.names, "--listen", f"127.0.0.1:{PORT}"], LOGIN,
                cwd=self.service.folder, env={"SGL_LAUNCH_SITE": str(self.service.folder / "site.yaml")},
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def ask(self, service: Service, model: str = MODEL) -> str:
        """The status of one short request; `0` where nobody takes the connection."""
        words = [sys.executable, str(ROOT / "benchmarks" / "service_drills.py"), "--ask", self.url, model]
        done = self.service.cluster.run(words, LOGIN, env={"OPENAI_API_KEY": service.key}, timeout=60)
        return done.stdout.strip()

    def wait_for(self, service: Service, status: str = "200", timeout: float = 90, model: str = MODEL) -> None:
        wait_until(lambda: self.ask(service, model) == status, timeout, f"{status} of {service.name} at the gateway")


LOADS: list[Load] = []


class Keyed(Protocol):
    """What clients ask, on a cluster."""

    cluster: Cluster

    @property
    def key(self) -> str: ...


class Load:
    """Streams of 1 to `longest` s that begin at random moments."""

    def __init__(
        self, service: Keyed, requests: int, seconds: float, url: str = Gateway.url, longest: float = 8,
        rate: float = RATE,
    ) -> None:  # fmt: skip
        words = [sys.executable, str(ROOT / "benchmarks" / "service.py"), "--client", url, "--requests", str(requests),
                 "--seconds", str(seconds), "--rate", str(rate), "--longest", str(longest)]  # fmt: skip
        env = {"OPENAI_API_KEY": service.key}
        self.process = service.cluster.popen(
            words, LOGIN, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

        LOADS.append(self)

    def outcomes(self) -> dict[str, Any]:
        said, err = self.process.communicate(timeout=300)
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        found["errors"] = err.strip()[-400:]
        return found


def whole(found: dict[str, Any]) -> str:
    """`100 of 100 whole`, and what else."""
    others = ", ".join(f"{n} {what}" for what, n in found["outcomes"].items() if what != "whole")
    return f"{found['outcomes'].get('whole', 0)} of {found['requests']} whole" + (f" ({others})" if others else "")


Drill = Callable[[Cluster, Path], str]


def drill(one: Drill, nodes: int, gpus: int, end: Callable[[Cluster, Path], None]) -> tuple[str, str, str]:
    """Its name with its seconds, how it went, and what it says; `end` ends what it left in a folder."""
    name, began = one.__name__.replace("_", " "), time.monotonic()
    with Cluster.up(nodes=nodes, gpus=gpus) as cluster, shared_folder(cluster) as folder:
        try:
            said, how = one(cluster, folder), "passed"
        except (Exception, SystemExit) as e:
            for load in LOADS:
                load.process.kill()
            said, how = f"{type(e).__name__}: {e}"[:1500], "FAILED"
            for log in [*sorted(folder.glob("**/*.out")), *folder.glob("**/gateway.log")]:
                print(f"--- {log.name}\n{log.read_text()[-2500:]}")
        cluster.mend()
        end(cluster, folder)
        left = [*cluster.run(["squeue", "-h"]).stdout.splitlines(), *map(str, cluster.left_over(timeout=5).values()),
                *scratch_folders(cluster)]  # fmt: skip
    seconds = f"{time.monotonic() - began:.0f} s"
    return f"{name} ({seconds})", how if not left else f"{how}, left: {left}", said


def run_drills(drills: Sequence[Drill], nodes: int, gpus: int, end: Callable[[Cluster, Path], None]) -> int:
    """Those that the command line names by a part of their name, or all; prints a row of a table for each."""
    rows = []
    for one in drills:
        if not sys.argv[1:] or any(word in one.__name__ for word in sys.argv[1:]):
            rows.append(drill(one, nodes, gpus, end))
            print("| " + " | ".join(rows[-1]) + " |", flush=True)
    return int(any(how != "passed" for _, how, _ in rows))
