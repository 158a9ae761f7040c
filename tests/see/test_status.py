"""States as recorded and as asked for, durations, tunnels, and the table in eighty columns."""

from __future__ import annotations

import io
from datetime import datetime

import pytest
from rich.console import Console

from launcher.base.counting import duration
from launcher.commands.status import show
from launcher.run.folder import Event
from launcher.run.history import History
from launcher.run.reasons import expected, sentence, time_left
from launcher.run.service import service_line
from launcher.run.status import RankStatus, Status, now, tunnel


def states(*events: tuple[str, str]) -> str:
    return History.of([Event(float(i), *e) for i, e in enumerate(events)]).process("decode-0").state


def test_a_restart_wants_a_warm_up_of_its_own() -> None:
    warm = [("decode-0", "started"), ("decode-0", "registered"), ("decode-0", "ready"), ("warm", "done")]
    assert states(*warm) == "warm"
    assert states(*warm, ("decode-0", "restarting")) == "restarting"
    assert states(*warm, ("decode-0", "restarting"), ("decode-0", "deregistered")) == "restarting"
    again = [*warm, ("decode-0", "restarting"), ("decode-0", "registered"), ("decode-0", "ready")]
    assert states(*again) == "ready"
    assert states(*again, ("decode-0", "warm")) == "warm"
    assert states(*warm, ("prefill-0", "restarting")) == "warm"


def test_a_sweep_that_was_not_steady_makes_nothing_warm() -> None:
    assert states(("decode-0", "ready"), ("warm", "not warm"), ("serve", "started")) == "ready"


def test_a_group_that_starts_after_the_sweep_is_not_warm() -> None:
    assert states(("warm", "done"), ("decode-0", "started"), ("decode-0", "ready")) == "ready"


@pytest.mark.parametrize(
    ("recorded", "health", "registered", "state"),
    [
        ("warm", "ok", True, "warm"),
        ("warm", "", None, "warm"),  # nobody could be asked
        ("warm", "no answer", None, "warm"),  # from here it cannot be told
        ("warm", "refused", True, "lost"),
        ("ready", "", False, "lost"),
        ("starting", "refused", False, "starting"),
        ("restarting", "refused", False, "restarting"),
    ],
)
def test_lost_is_never_guessed(recorded: str, health: str, registered: bool | None, state: str) -> None:
    assert now(recorded, health, registered) == state


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273600, "3 d 4 h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_tunnel() -> None:
    assert tunnel("http://127.0.0.1:8000", local=True) is None
    there = tunnel("http://10.0.0.1:80", local=False)
    assert there is not None
    assert there.startswith("ssh -N -L 8000:10.0.0.1:80 ")


def test_it_fits_a_narrow_terminal() -> None:
    """Long host names are cut, states are not; a line that matters is one line."""
    ranks = [
        RankStatus(f"prefill-{g}", r, g, f"gpu-node-{g:03}.cluster.example.org", "loading", "not ready", 3, True, 12.0,
                   "Loading safetensors checkpoint shards: " * 4)
        for g in range(2) for r in range(2)
    ]  # fmt: skip
    status = Status("4711", "dsr1", "runs/dsr1-4711", "RUNNING", "", "squeue", "ready", 200.0, None, None, "m", ranks)
    out = io.StringIO()
    show(status, Console(file=out, width=80, highlight=False))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("loading" in line for line in lines) == 4
    assert sum("Loading safetensors" in line for line in lines) == 4


def line(prefill: str, decode: str, ready: bool = True, stage: str = "serve", warm: str = "done") -> str:
    return service_line(stage, {"prefill": prefill.split(), "decode": decode.split()}, ready, warm)


def test_the_first_line_is_about_the_service() -> None:
    assert line("warm", "restarting", warm="not warm") == (
        "not serving: prefill 1/1, decode 0/1 (restarting); warm-up: not steady"
    )
    assert line("warm warm", "warm lost starting") == "serving: prefill 2/2, decode 1/3 (lost, starting); warm-up: warm"
    assert line("ready", "ready", stage="warm", warm="") == "serving: prefill 1/1, decode 1/1; warm-up: running"
    assert line("ready", "loading", ready=False, stage="ready") == "starting (ready): prefill 1/1, decode 0/1 (loading)"
    assert line("warm", "warm", stage="stop").startswith("stopping: ")
    assert service_line("nodes", {}, False, "") == "starting (nodes)"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("Resources", "it is next in the queue and waits for nodes to become free (Resources)"),
        ("QOSMaxGRESPerUser", "the QOS has a limit: the job, with your others, is above it"),
        ("AssocGrpCPUMinutesLimit", "your account has a limit: all its jobs together have reached it"),
        ("ReqNodeNotAvail, UnavailableNodes:n[001-002]",
         "nodes that it asks for are down, drained or reserved: `sinfo -R` says why (ReqNodeNotAvail, Unav"),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
         "too few nodes are left of those it may have: `sinfo -R` says which are and why (Nodes required for job"),
        ("(launch failed requeued held)", "its start failed on a node and Slurm holds it"),
        ("SomethingNew", "SomethingNew"),
        ("", ""),
    ],
)  # fmt: skip
def test_reasons_are_sentences(reason: str, told: str) -> None:
    assert sentence(reason).startswith(told)


def test_times_in_words() -> None:
    now = datetime(2026, 11, 23, 10, 0)
    assert expected("2026-11-23T12:05:00", now) == "in about 2 h 5 min (12:05)"
    assert expected("2026-11-25T10:00:00", now) == "in about 2 d 0 h (Wed 25 Nov, 10:00)"
    assert expected("2026-11-23T09:59:00", now).startswith("at any moment")
    assert expected("N/A", now) == "N/A"
    assert [time_left(t) for t in ("1-02:03:04", "03:04", "59", "UNLIMITED")] == [
        "1 d 2 h", "3 min 4 s", "59 s", "UNLIMITED",
    ]  # fmt: skip
