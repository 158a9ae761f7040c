#!/usr/bin/env python3
"""What one reads when things fail: failures provoked one by one, and what submit, wait, status and logs --why say.

    benchmarks/failures.py [local|slurm] [NAME ...]

Read each: does one message say what failed, where, and what to do? `local` runs the rehearsal on this machine, `slurm`
the test cluster. Faults are real unless "(text)" says that a worker only prints what the real one would.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
os.environ.pop("PYTHONPATH", None)

from tests.local.run import DEMO, SMALL, Launcher, Run, wait_until  # noqa: E402

Trial = Callable[[Launcher], str]
QUICK = (*SMALL, "--set=timeouts.ready=25")


def said(done: subprocess.CompletedProcess[str]) -> str:
    return f"[status {done.returncode}] {(done.stdout + done.stderr).strip()[-1500:]}"


Done = subprocess.CompletedProcess[str]


def submit(launcher: Launcher, *options: str, wait: bool = True, config: Path = DEMO) -> Done:
    words = ["--wait", "ready", "--timeout", "50"] if wait else []
    return launcher("submit", str(config), "--cluster", "local", *QUICK, *options, *words, timeout=120)


def after(launcher: Launcher, job: str = "demo") -> str:
    """What one asks next."""
    told = [f"$ sgl-launch {' '.join(w)}\n{said(launcher(*w))}" for w in (("status", job), ("logs", job, "--why"))]
    return "\n".join(told)


def sets(*options: str) -> Trial:
    def trial(launcher: Launcher) -> str:
        done = submit(launcher, *options)
        started = list(launcher.folder.glob("runs/*/job.sh"))
        return said(done) + ("\n" + after(launcher) if started else "")

    return trial


def worker(body: str, *options: str) -> Trial:
    """decode-0 runs these lines of bash first."""
    return sets(f"--set=setup={json.dumps([f'case $GROUP in decode-0) {body} ;; esac'])}", *options)


def later(do: Callable[[Run], None], *options: str, wait: str = "failed") -> Trial:
    """A deployment that serves, then `do`."""

    def trial(launcher: Launcher) -> str:
        run = launcher.start(*QUICK, *options)
        do(run)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: any(e[1] == wait for e in run.events()), 30, wait)
            wait_until(lambda: any(e[:2] == ("stop", "done") for e in run.events()), 20, "the end")
        return after(launcher)

    return trial


def kill(name: str, sig: int = signal.SIGKILL) -> Callable[[Run], None]:
    def body(run: Run) -> None:
        found = [p for p in run.launcher.processes(run.job) if name in " ".join(p.argv[:1]) or name in p.argv]
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, sig)

    return body


def port_taken(launcher: Launcher) -> str:
    with socket.create_server(("", 0)) as taken:
        return sets(f"--set=frontend.port={taken.getsockname()[1]}")(launcher)


def full_disk(launcher: Launcher) -> str:
    disk = launcher.folder / "runs"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        with contextlib.suppress(OSError):
            (disk / "filler").write_bytes(b"x" * 48_000)
        return said(submit(launcher)) + "\n" + said(launcher("status"))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def config_text(text: str) -> Trial:
    def trial(launcher: Launcher) -> str:
        file = launcher.folder / "c.yaml"
        file.write_text(text)
        return said(submit(launcher, config=file))

    return trial


def words(*of: str) -> Trial:
    """A command beside a deployment that serves."""
    return lambda launcher: (launcher.start(*QUICK), said(launcher(*of)))[1]


def cancelled(launcher: Launcher) -> str:
    done = submit(launcher, wait=False)
    launcher("cancel", "demo")
    return said(done) + "\n" + said(launcher("wait", "demo")) + "\n" + after(launcher)


MEMORY = "echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.' >&2; exit 1"
HUB = "echo 'huggingface_hub.errors.GatedRepoError: 401 Client Error. Access to model x is restricted.' >&2; exit 1"
LOCAL: dict[str, Trial] = {
    "model folder missing": sets("--set=model.path=/no/such/model"),
    "model folder missing, --no-check": sets("--set=model.path=/no/such/model", "--no-check"),
    "container runtime missing": sets("--set=container={runtime: apptainer, image: /images/none.sif}"),
    "port taken": port_taken,
    "worker exits at once": worker("echo 'could not start' >&2; exit 3"),
    "worker exits at once with status 0": worker("exit 0"),
    "worker killed (137)": worker("kill -9 $BASHPID"),
    "no space": worker("dd if=/dev/zero of=/dev/full bs=1 count=1 || exit 1"),
    "module missing": worker(f"exec {sys.executable} -c 'import sglang_is_not_here'"),
    "GPU memory (text)": worker(MEMORY),
    "hub refused (text)": worker(HUB),
    "segfault": worker("kill -SEGV $BASHPID"),
    "permission": worker("exec /etc/passwd"),
    "open files": worker("ulimit -n 6"),
    "host memory": worker("ulimit -v 200000"),
    "worker hangs": worker("exec sleep 300", "--set=timeouts.ready=8"),
    "setup fails": sets("--set=setup=[module load cuda/99]"),
    "setup file missing": sets("--set=setup=[source /opt/none/env.sh]"),
    "secret missing": sets("--set=env_from=[NO_SUCH_TOKEN]"),
    "secret file missing": sets("--set=env_from={HF_TOKEN: 'file:/none/token'}"),
    "interface missing": sets("--set=network.interface=ib0"),
    "runs cannot be made": sets("--set=runs=/proc/none"),
    "runs full": full_disk,
    "no such config": lambda launcher: said(launcher("submit", "nowhere.yaml", "--cluster", "local")),
    "no YAML": config_text("name: demo\n  engine: mocker\n\tmodel: x\n"),
    "no such job": lambda launcher: said(launcher("status", "L99")),
    "etcd killed": later(kill("etcd")),
    "NATS killed, stop": later(kill("nats-server"), "--set=on_failure.services=stop"),
    "supervisor killed": later(lambda run: os.kill(run.pid, signal.SIGKILL), wait="none"),
    "worker killed, stop": later(kill("decode-0"), "--set=on_failure.workers=stop"),
    "cancelled at start": cancelled,
    "chat with another model": words("chat", "demo", "--model", "other", "-m", "hi"),
    "profile of the mocker": words("profile", "demo", "--group", "decode-0"),
    "group that is none": words("logs", "demo", "decode-7"),
}  # fmt: skip


def slurm() -> Iterator[tuple[str, str]]:
    from tests.slurm.cluster import Cluster
    from tests.slurm.deploy import Launcher as OnSlurm
    from tests.slurm.deploy import small

    with Cluster.up(nodes=3, gpus=8) as cluster:
        folder = Path(tempfile.mkdtemp(dir=cluster.share))
        launcher = OnSlurm(cluster, folder)
        config = launcher.write(small())

        def go(*options: str, seconds: float = 40, job: bool = True) -> str:
            done = launcher("submit", str(config), *options)
            found = re.search(r"job (\d+)", done.stdout)
            if done.returncode or not found:
                return said(done)
            with contextlib.suppress(Exception):
                launcher("wait", found[1], "--timeout", str(seconds))
            asked = (("status", found[1]), ("logs", found[1], "--why"))
            told = "\n".join(f"$ {w[0]}\n{said(launcher(*w))}" for w in asked)
            launcher("cancel", found[1])
            return f"{said(done)}\n{told}"

        yield "wrong partition", go("--set=slurm.partition=gpus")
        yield "wrong account", go("--set=slurm.account=nobody")
        yield "too many nodes", go("--set=prefill={workers: 9, args: {tp-size: 8}}")
        yield "too many GPUs a node", go("--set=slurm.gpus_per_node=16", "--set=prefill.args.tp-size=16")
        yield "time limit", go("--set=slurm.time=1", "--set=timeouts.ready=300", seconds=90)
        yield "wrong constraint", go("--set=slurm.constraint=h200")
        yield "model folder missing on the nodes", go("--set=model.path=/models/none")
        yield "held by begin", go("--", "--begin=now+1hour", seconds=2)
        for node in ("n001", "n002", "n003"):
            cluster.run(["scontrol", "update", f"node={node}", "state=drain", "reason=fan"], "login", cwd="/")
        yield "all nodes drained", go(seconds=3)


def main() -> int:
    what, *names = sys.argv[1:] or ["local"]
    if what == "slurm":
        for name, text in slurm():
            print(f"\n=== {name}\n{text}", flush=True)
        return 0
    for name, trial in LOCAL.items():
        if names and name not in names:
            continue
        with tempfile.TemporaryDirectory(prefix="failures-") as folder:
            launcher, began = Launcher(Path(folder)), time.monotonic()
            try:
                text = trial(launcher)
            except Exception as error:  # the next one is to be seen as well
                text = f"NOT PROVOKED: {error!r}"[:1500]
            launcher("cancel", "demo")
            launcher.kill_all()
            print(f"\n=== {name} ({time.monotonic() - began:.0f} s)\n{text.replace(folder, '')}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
