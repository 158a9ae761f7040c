"""configs/local.yaml on this machine: two prefill and two decode workers, two deployments at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .run import SMALL, Launcher, Run


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """configs/local.yaml as it is, warm; the tests below share it and the last one ends it."""
    launcher = Launcher(tmp_path_factory.mktemp("demo"))
    begin = time.monotonic()
    try:
        run = launcher.start(wait="warm")
        print(f"submit to warm, this machine: {time.monotonic() - begin:.1f} s")
        yield run
    finally:
        launcher.kill_all()


def test_a_streamed_chat_is_answered_by_a_prefill_and_a_decode_worker(demo: Run) -> None:
    begin = time.monotonic()
    assert demo.chat()["pieces"] > 1
    print(f"one chat: {time.monotonic() - begin:.1f} s")


def test_every_worker_answers(demo: Run) -> None:
    found = demo.json("warmup.json")
    assert found["verdict"] == "warm", found
    answered = {stage for stage, state, _ in demo.events() if state == "ready"}
    assert answered >= {"prefill-0", "prefill-1", "decode-0", "decode-1"}
    assert len(demo.workers("prefill")) == len(demo.workers("decode")) == 2


def test_each_worker_has_its_own_gpu_and_ports(demo: Run) -> None:
    gpus, addresses = {}, set()
    for group in ("prefill-0", "prefill-1", "decode-0", "decode-1"):
        environ = Path(f"/proc/{demo.rank(group).pid}/environ").read_bytes().decode()
        env = dict(line.split("=", 1) for line in environ.split("\0") if "=" in line)
        gpus[group] = env["CUDA_VISIBLE_DEVICES"]
        line = demo.path.joinpath("logs", f"{group}-0.log").read_text().splitlines()[0]
        fields = dict(word.split("=", 1) for word in line.removeprefix("rank: ").split())
        assert (fields["group"], fields["rank"], fields["nnodes"]) == (group, "0", "1")
        assert fields["address"] == "127.0.0.1"
        addresses.add(fields["dist-init-addr"])
    assert gpus == {"prefill-0": "0", "prefill-1": "1", "decode-0": "2", "decode-1": "3"}
    assert len(addresses) == 4


def test_status_list_logs_and_wait(demo: Run) -> None:
    status = demo.status()
    assert (status["state"], status["stage"], status["failure"]) == ("RUNNING", "serve", None)
    assert status["endpoint"] == demo.url
    assert {rank["state"] for rank in status["ranks"]} == {"warm"}
    assert f"{demo.job} " in demo.launcher("list").stdout
    logs = demo.launcher("logs", "demo", "decode-1")
    assert logs.stdout.startswith("rank: group=decode-1 rank=0 ")
    assert demo.launcher("wait", demo.job, "--for", "warm").returncode == 0


def test_cancel_leaves_nothing(demo: Run) -> None:
    begin = time.monotonic()
    done = demo.launcher("cancel", "demo")
    print(f"cancel, this machine: {time.monotonic() - begin:.1f} s")
    assert done.returncode == 0, done
    assert done.stdout == f"demo-{demo.job} ended: CANCELLED\n"
    assert done.stderr == "", "it had to kill what was left"
    demo.launcher.wait_gone(timeout=0.5)
    assert list(demo.launcher.scratch.glob("sgl-launch*")) == []
    status = demo.status()
    assert (status["state"], status["stage"], status["endpoint"]) == ("CANCELLED", "stopped", None)
    again = demo.launcher("cancel", "demo")
    assert again.returncode == 0
    assert "had ended already" in again.stdout


def test_two_at_once_do_not_meet(launcher: Launcher) -> None:
    runs = [launcher.start(*SMALL, wait=None) for _ in range(2)]
    for run in runs:
        ready = launcher("wait", run.job, "--timeout", "60")
        assert ready.returncode == 0, f"{ready.stderr}\n{run.output}"
    one, two = runs
    assert one.url != two.url
    for run in runs:
        run.chat()
    # the newest run is the one that was submitted last, whatever happened in the other since
    (one.path / "note").touch()
    assert f'"job_id": "{two.job}"' in launcher("status", "--json").stdout
    assert launcher("cancel", one.job).returncode == 0
    launcher.wait_gone(timeout=0.5, job=one.job)
    two.chat()
    assert launcher("cancel", two.job).returncode == 0
    launcher.wait_gone(timeout=0.5)
