"""States as recorded and as asked for, durations, tunnels, and the table in eighty columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from launcher.base.counting import duration
from launcher.commands.status import show
from launcher.run.folder import Event
from launcher.run.history import History
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
