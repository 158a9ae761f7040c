"""Drills of parts that hang instead of ending (SIGSTOP): noticed within 10 s, and treated as if they had died."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.run import SMALL, Launcher, Process, Run, wait_until

from . import table
from .stream import start_long_request

NOTICE = 10.0  # seconds


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    made = Launcher(tmp_path)
    yield made
    made.kill_all()  # some tests leave a job that serves again


def freeze(run: Run, module: str, word: str = "") -> tuple[Process, float]:
    """Stop the process of this module; returns it and when."""
    run.wait_event("serve", "started")
    (victim,) = [p for p in run.launcher.processes(run.job) if module in p.argv and (not word or word in p.argv)]
    time.sleep(1)
    os.kill(victim.pid, signal.SIGSTOP)
    return victim, time.monotonic()


def happened(run: Run, stage: str, state: str) -> bool:
    return any(event[:2] == (stage, state) for event in run.events())


@pytest.mark.parametrize("part, module, word", [
    ("frontend", "dynamo.frontend", ""),
    ("decode-0", "dynamo.mocker", "decode"),
    ("prefill-0", "dynamo.mocker", "prefill"),
    ("nats", "nats-server", ""),
])  # fmt: skip
def test_a_part_that_hangs_is_started_again(launcher: Launcher, part: str, module: str, word: str) -> None:
    run = launcher.start(*SMALL, "--set=on_failure.services=restart")
    victim, since = freeze(run, module, word)
    wait_until(lambda: happened(run, part, "lost"), NOTICE + 5, f"the loss of {part}\n{run.output}")
    noticed = time.monotonic() - since
    wait_until(lambda: victim.pid not in [p.pid for p in launcher.processes(run.job)], 8, "the end of what hung")
    clean = time.monotonic() - since

    def is_back() -> bool:
        states = [state for stage, state, _ in run.events() if stage == part]
        return "ready" in states[states.index("lost") :]

    wait_until(is_back, 20, f"its return\n{run.output}")
    back = time.monotonic() - since
    run.chat()
    assert [e[0] for e in run.events() if e[1] == "lost"] == [part], run.output
    table.add(f"Hung: {part}", noticed, clean, "on", 0, f"restarted, in service after {back:.1f} s")
    assert noticed < NOTICE


def test_nats_hangs_again_and_again(launcher: Launcher) -> None:
    """It is back within 0.2 s, before anybody looks."""
    run = launcher.start(*SMALL, "--set=on_failure.services=restart")
    longest = 0.0
    for turn in range(3):
        _, since = freeze(run, "nats-server")
        wait_until(lambda: losses(run) > turn, NOTICE + 5, f"its loss\n{run.output}")  # noqa: B023
        longest = max(longest, time.monotonic() - since)
        wait_until(lambda: run.events()[-1][:2] == ("nats", "ready"), 20, f"its return\n{run.output}")
    run.chat()
    table.add("Hung: nats, three times", longest, None, "on", 0, "restarted each time; the longest notice")
    assert longest < NOTICE


def losses(run: Run) -> int:
    return sum(event[:2] == ("nats", "lost") for event in run.events())


def test_etcd_that_hangs_ends_the_job(launcher: Launcher) -> None:
    run = launcher.start(*SMALL)
    run.wait_event("serve", "started")
    (victim,) = [p for p in launcher.processes(run.job) if p.argv[0].endswith("/etcd")]
    os.kill(victim.pid, signal.SIGSTOP)
    since = time.monotonic()
    wait_until(lambda: happened(run, "etcd", "lost"), NOTICE + 5, f"its loss\n{run.output}")
    noticed = time.monotonic() - since
    launcher.wait_gone(timeout=10)
    table.add("Hung: etcd", noticed, time.monotonic() - since, "137", 0, "the job ends: etcd is lost")
    assert "is lost: it has not answered for 8 s" in run.output.splitlines()[-1]
    assert noticed < NOTICE


def test_a_supervisor_that_hangs_is_cancelled(launcher: Launcher) -> None:
    run = launcher.start(*SMALL)
    os.kill(run.pid, signal.SIGSTOP)
    since = time.monotonic()
    done = launcher("cancel", run.job)
    assert done.returncode == 0, done
    assert "was stopped by a signal (SIGSTOP); it is killed" in done.stderr
    launcher.wait_gone(timeout=1)
    clean = time.monotonic() - since
    table.add("Hung: the supervisor, then cancel", None, clean, "137", 0, "here; killed, and all with it")
    assert clean < 10


def test_cancel_ends_a_drain(launcher: Launcher) -> None:
    run = launcher.start(*SMALL, "--set=timeouts.drain=60", "--set=mocker.speedup-ratio=0.01")
    run.wait_event("serve", "started")
    asking = start_long_request(run.url, run.key, "tiny", 2000)
    time.sleep(1)  # it has begun
    try:
        os.kill(run.pid, signal.SIGUSR2)
        run.wait_event("stop", "started")
        time.sleep(2)
        assert launcher.processes(run.job), "it did not drain at all"
        since = time.monotonic()
        assert launcher("cancel", run.job).returncode == 0
        launcher.wait_gone(timeout=5, job=run.job)
        clean = time.monotonic() - since
    finally:
        asking.kill()
        asking.wait()
    table.add("cancel during a drain", None, clean, "0", 0, "the drain ends")
    assert clean < 10, run.output
