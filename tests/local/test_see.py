"""status, logs and report of a real deployment on this machine, a worker killed meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time

from .run import SMALL, Launcher, wait_until


def test_a_worker_is_killed(launcher: Launcher) -> None:
    run = launcher.start(*SMALL)
    followed: list[str] = []
    follow = threading.Thread(
        target=lambda: followed.append(launcher("logs", run.job, "decode-0", "-f", timeout=90).stdout)
    )
    follow.start()
    before = {r["group"]: r for r in run.status()["ranks"]}
    assert {(r["state"], r["health"], r["registered"], r["restarts"]) for r in before.values()} == {
        ("ready", "ok", True, 0)
    }
    time.sleep(1)
    os.kill(run.rank("decode-0").pid, signal.SIGKILL)
    seen = set()

    def back() -> bool:
        (rank,) = [r for r in run.status()["ranks"] if r["group"] == "decode-0"]
        seen.add(rank["state"])
        return rank["restarts"] == 1 and rank["state"] in ("ready", "warm")

    wait_until(back, 40, "the worker to be back")
    assert seen & {"lost", "restarting"}
    others = [r["state"] for r in run.status()["ranks"] if r["group"] == "prefill-0"]
    assert others == ["ready"]
    page = launcher("report", run.job, "-o", "r.html")
    assert page.returncode == 0, page.stderr
    assert 'class="mark"' in (launcher.folder / "r.html").read_text()
    launcher("cancel", run.job)
    follow.join(30)
    (text,) = followed
    starts = [line for line in text.splitlines() if "rank: group=decode-0" in line]
    assert len(starts) == 2, text[-2000:]  # of both attempts
    listed = launcher("list").stdout
    assert run.job in listed
