"""Run folders, a job's status, and following it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher.base.errors import InputError, WorkError
from launcher.base.processes import start_time
from launcher.plan.show import to_json
from launcher.run.folder import STAGES, Event, Node, RunFolder, find_run, find_runs, resolve_port
from launcher.run.follow import describe, wait_for
from launcher.run.state import JobState
from launcher.run.status import group_state, read_status, stage_of

from .helpers import BASE, Cli, plan_of

ALIVE = {"pid": os.getpid(), "start_time": start_time(os.getpid())}
DEAD = {"pid": 2**22 + 1, "start_time": 1}


def make_run(name: str, runs: Path = Path("runs"), process: dict[str, Any] | None = None) -> RunFolder:
    path = runs.absolute() / name
    (path / "logs").mkdir(parents=True)
    run = RunFolder(path)
    run.write_json("local.json", process or ALIVE)
    (path / "events.jsonl").touch()
    return run


def add(run: RunFolder, *events: tuple[float, str, str] | tuple[float, str, str, str]) -> None:
    with (run.path / "events.jsonl").open("a") as f:
        for time, stage, state, *detail in events:
            line = {"time": time, "stage": stage, "state": state, "detail": detail[0] if detail else ""}
            f.write(json.dumps(line) + "\n")


# --- run folder -------------------------------------------------------------------------------------


def test_names() -> None:
    run = RunFolder(Path("/x/dsr1-4p9d-117"))
    assert (run.name, run.job_id) == ("dsr1-4p9d", "117")


def test_json_files(folder: Path) -> None:
    run = make_run("a-L1")
    assert run.json("plan.json") is None
    with pytest.raises(WorkError, match=r"has no plan\.json: the job has not started yet"):
        run.plan()
    assert run.plan_or_none() is None
    run.write_json("plan.json", {"a": 1})
    assert run.json("plan.json") == {"a": 1}
    (run.path / "job.sh").write_text("#!/bin/bash\n# t: m on 2 nodes, made by sgl-launch 9.1.0.\n")
    run.write_json("plan.json", {"schema": 2})
    with pytest.raises(WorkError, match=r"a-L1/plan\.json: this run was made by sgl-launch 9\.1\.0 with plan schema 2"):
        run.plan()
    (run.path / "job.sh").unlink()
    (run.path / "plan.json").write_text('{"a": ')
    assert run.json("plan.json") is None
    (run.path / "plan.json").write_text("[1]")
    assert run.json("plan.json") is None
    assert sorted(p.name for p in run.path.iterdir()) == ["events.jsonl", "local.json", "logs", "plan.json"]


def test_nodes() -> None:
    run = make_run("a-L1")
    assert run.nodes() == []
    (run.path / "hosts").write_text("0 n001 10.0.0.1 eth0\n1 n002 10.0.0.2 ib0\nhalf a\n")
    assert run.nodes() == [Node(0, "n001", "10.0.0.1", "eth0"), Node(1, "n002", "10.0.0.2", "ib0")]


def test_events_without_a_half_written_line() -> None:
    run = make_run("a-L1")
    add(run, (1.0, "who", "started"), (2.0, "who", "done", "x"))
    with (run.path / "events.jsonl").open("a") as f:
        f.write('not json\n[]\n{"time": 3}\n{"time": 4, "stage": "ser')
    assert run.events() == [Event(1.0, "who", "started"), Event(2.0, "who", "done", "x")]


def test_an_added_event_is_read_again() -> None:
    run = make_run("a-L1")
    run.add_event("nats", "ready", 'say "hi"\nthere')
    (event,) = run.events()
    assert (event.stage, event.state, event.detail) == ("nats", "ready", 'say "hi"\nthere')


def test_ports() -> None:
    assert resolve_port(8000, {}) == 8000
    assert resolve_port("P+16", {"port_base": 20480}) == 20496


def test_which_run() -> None:
    runs = Path("runs")
    with pytest.raises(InputError, match="there are no runs in runs/; give --runs"):
        find_run(None, runs)
    first, second = make_run("demo-L1"), make_run("other-L2")
    (runs / "not-a-run").mkdir()
    (runs / "file-L3").touch()
    assert {r.path.name for r in find_runs(runs)} == {"demo-L1", "other-L2"}
    for name in ("L1", "demo", "demo-L1"):
        assert find_run(name, runs).path.samefile(first.path)
    assert find_run(str(second.path), Path("elsewhere")) == second
    assert find_run("runs/other-L2", Path("elsewhere")).path == second.path
    with pytest.raises(InputError, match=r"no run 'demi' in runs/; the newest ones: .*demo-L1"):
        find_run("demi", runs)


# --- status -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "stage"),
    [
        ([], "queued"),
        ([("who", "started")], "who"),
        ([("who", "started"), ("who", "done")], "who"),
        ([("who", "started"), ("services", "started"), ("nats", "started")], "services"),
        ([("serve", "started"), ("stop", "started")], "stop"),
        ([("serve", "started"), ("stop", "started"), ("stop", "done")], "stopped"),
    ],
)
def test_stage(events: list[tuple[str, str]], stage: str) -> None:
    assert stage_of([Event(1.0, s, t) for s, t in events]) == stage


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "waiting"),
        ([("prefill-1", "started")], "waiting"),
        ([("prefill-0", "started")], "starting"),
        ([("prefill-0-0", "started"), ("prefill-0-1", "started")], "starting"),
        ([("prefill-0", "started"), ("prefill-0", "registered")], "registered"),
        ([("prefill-0", "registered"), ("prefill-0", "ready")], "ready"),
        ([("prefill-0", "ready"), ("warm", "started")], "ready"),
        ([("prefill-0", "ready"), ("warm", "done")], "warm"),
    ],
)
def test_group_state(events: list[tuple[str, str]], state: str) -> None:
    found = [Event(1.0, s, t) for s, t in events]
    assert group_state("prefill-0", found, JobState("RUNNING")) == state
    assert group_state("prefill-0", found, JobState("FAILED")) == "ended"


def test_status_of_a_job_that_has_just_been_submitted() -> None:
    status = read_status(make_run("demo-L1"))
    assert (status.name, status.job_id, status.state, status.stage) == ("demo", "L1", "RUNNING", "queued")
    assert (status.elapsed, status.endpoint, status.failure, status.ranks) == (None, None, None, [])


def test_status_of_a_job_that_serves() -> None:
    run = make_run("demo-L1")
    run.write_json("plan.json", to_json(plan_of(BASE)))
    run.write_json("endpoint.json", {"url": "http://10.0.0.1:8000", "model": "m"})
    (run.path / "hosts").write_text("0 n001 10.0.0.1 eth0\n")
    add(run, (1.0, "who", "started"), (2.0, "prefill-0", "ready"), (3.0, "serve", "started"))
    status = read_status(run)
    assert status.stage == "serve"
    assert (status.endpoint, status.model) == ("http://10.0.0.1:8000", "m")
    assert [(r.group, r.node, r.host, r.state) for r in status.ranks] == [
        ("prefill-0", 0, "n001", "ready"),
        ("decode-0", 1, "-", "waiting"),
    ]
    assert json.loads(json.dumps(status.json()))["ranks"][0]["host"] == "n001"


def test_status_of_a_job_that_failed() -> None:
    run = make_run("demo-L1", process=DEAD)
    run.write_json("endpoint.json", {"url": "http://10.0.0.1:8000", "model": "m"})
    add(run, (10.0, "who", "started"), (12.0, "workers", "failed", "prefill-0 ended"))
    add(run, (13.5, "stop", "done", "exit status 137"))
    status = read_status(run)
    assert status.failure == "workers failed: prefill-0 ended"
    assert (status.state, status.reason) == ("FAILED", "exit status 137")
    assert (status.stage, status.elapsed) == ("stopped", 3.5)
    assert status.endpoint is None


def test_status_and_list_commands(cli: Cli) -> None:
    run = make_run("demo-L1", process=DEAD)
    add(run, (10.0, "who", "started"), (12.0, "who", "failed", "no address"))
    shown = cli("status")
    assert shown.code == 0
    assert shown.out.startswith(
        "demo  job L1  FAILED (killed: no exit status)\nstage who, 2 s\nwho failed: no address\nrun folder "
    )
    assert json.loads(cli("status", "L1", "--json").out)["failure"] == "who failed: no address"
    rows = json.loads(cli("list", "--json").out)
    assert [(r["job_id"], r["name"], r["state"]) for r in rows] == [("L1", "demo", "FAILED")]
    assert cli("list").out.splitlines()[1].endswith("  (killed: no exit status)")
    missing = cli("status", "L7")
    assert (missing.code, missing.out) == (2, "")
    assert missing.err == "sgl-launch: no run 'L7' in runs/; the newest ones: demo-L1\n"


def test_logs_command(cli: Cli) -> None:
    run = make_run("demo-L1", process=DEAD)
    for name, text in {"prefill-0-0": "a\nb\n", "prefill-0-1": "c\n", "prefill-01-0": "d\n", "nats": "e\n"}.items():
        (run.path / "logs" / f"{name}.log").write_text(text)
    assert cli("logs", "L1", "prefill-0:1").out == "c\n"
    assert cli("logs", "L1", "prefill-0").out == "prefill-0-0| a\nprefill-0-0| b\nprefill-0-1| c\n"
    assert cli("logs", "L1", "-n", "1", "prefill-0").out == "prefill-0-0| b\nprefill-0-1| c\n"
    assert cli("logs", "L1", "nats").out == "e\n"
    missing = cli("logs", "L1", "decode-0")
    assert missing.code == 2
    assert "no log of 'decode-0'" in missing.err
    assert "there are: nats, prefill-0-0, prefill-0-1, prefill-01-0" in missing.err


# --- follow -----------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives what happens at each pause of wait_for; a pause beyond the last is a failure."""

    def set_steps(*steps: Callable[[], object]) -> None:
        left = list(steps)

        def sleep(_: float) -> None:
            assert left, "wait_for waits for ever"
            left.pop(0)()

        monkeypatch.setattr("launcher.run.follow.time.sleep", sleep)

    return set_steps


def test_wait_says_what_happens(clock: Callable[..., None]) -> None:
    run, said = make_run("demo-L1"), []
    add(run, (100.0, "who", "started"))
    clock(
        lambda: add(run, (100.5, "who", "done"), (101.0, "nats", "started", "n001")),
        lambda: add(run, (104.25, "ready", "done", "2 workers")),
    )
    wait_for(run, "ready", None, said.append)
    assert said == [
        "     0.0 s  who          started",
        "     0.5 s  who          done",
        "     4.2 s  ready        done  2 workers",
    ]


def test_describe() -> None:
    assert describe(Event(1.0, "frontend", "started"), 0.0) is None
    assert describe(Event(1.0, "frontend", "ready"), 0.0) == "     1.0 s  frontend     ready"


def test_wait_for_warm(clock: Callable[..., None]) -> None:
    run = make_run("demo-L1")
    run.write_json("plan.json", to_json(plan_of(BASE)))
    add(run, (1.0, "ready", "done"))
    clock(lambda: add(run, (2.0, "warm", "done")))
    wait_for(run, "warm", None, lambda _: None)


@pytest.mark.parametrize(
    ("state", "how"), [("not warm", "serves but is not warm"), ("failed", "is not warm, and ends")]
)
def test_why_it_is_not_warm(clock: Callable[..., None], state: str, how: str) -> None:
    run = make_run("demo-L1")
    add(run, (1.0, "ready", "done"), (2.0, "warm", state, "see warmup.json"))
    clock()
    with pytest.raises(WorkError, match=f"^demo-L1 {how}: see warmup.json; waited 0 s$"):
        wait_for(run, "warm", None, lambda _: None)
    reasons = ["first token at 64x1 still moves\nby 31 %", "the time was over"]
    run.write_json("warmup.json", {"verdict": "not steady", "reasons": reasons})
    with pytest.raises(WorkError) as error:
        wait_for(run, "warm", None, lambda _: None)
    said = "not steady: first token at 64x1 still moves by 31 %; the time was over"
    assert str(error.value) == f"demo-L1 {how}: {said} ({run.path}/warmup.json); waited 0 s"


def test_a_job_without_a_warm_up_is_warm_when_it_is_ready(clock: Callable[..., None]) -> None:
    run = make_run("demo-L1")
    run.write_json("plan.json", to_json(plan_of(BASE + "warmup: {requests: {enabled: false}}\n")))
    add(run, (1.0, "ready", "done"))
    clock()
    wait_for(run, "warm", None, lambda _: None)


def test_wait_for_the_end(clock: Callable[..., None]) -> None:
    run = make_run("demo-L1")
    clock(lambda: add(run, (1.0, "serve", "started"), (2.0, "stop", "done")))
    wait_for(run, "done", None, lambda _: None)
    add(run, (3.0, "serve", "cancelled", "SIGTERM"))
    with pytest.raises(WorkError, match="demo-L1 cancelled: SIGTERM"):
        wait_for(run, "done", None, lambda _: None)


def test_a_job_that_ends_before(clock: Callable[..., None]) -> None:
    run = make_run("demo-L1")

    def die() -> None:
        add(run, (1.0, "workers", "failed", "prefill-0 ended on n001; its log: x"))
        run.write_json("local.json", DEAD)

    clock(die)
    with pytest.raises(WorkError) as error:
        wait_for(run, "ready", None, lambda _: None)
    assert str(error.value) == (
        "demo-L1 has ended, FAILED (killed: no exit status), before it was ready (waited 0 s). "
        "workers failed: prefill-0 ended on n001; its log: x; `sgl-launch logs L1 --why` looks for the cause"
    )


def test_a_job_that_ends_without_a_word(clock: Callable[..., None]) -> None:
    run = make_run("demo-L1", process=DEAD)
    clock()
    said = r"before it was ready \(waited 0 s\)\. See .*/demo-L1/logs and .*/demo-L1\.out"
    with pytest.raises(WorkError, match=said):
        wait_for(run, "ready", None, lambda _: None)


def test_wait_gives_up(clock: Callable[..., None]) -> None:
    run = make_run("demo-L1")
    clock()
    with pytest.raises(WorkError, match="demo-L1 is not ready after 0 s"):
        wait_for(run, "ready", 0, lambda _: None)


def test_why_a_job_is_queued_is_said_once(clock: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("demo-17")
    (run.path / "local.json").unlink()
    states = [JobState("PENDING", "Resources", "squeue")] * 2 + [JobState("PENDING", "Priority", "squeue")]
    states += [JobState("RUNNING", "", "squeue")]
    monkeypatch.setattr("launcher.run.follow.job_state", lambda _: states.pop(0))
    clock(lambda: None, lambda: None, lambda: add(run, (1.0, "ready", "done")))
    said: list[str] = []
    wait_for(run, "ready", None, said.append)
    assert said == [
        "           queued       Resources",
        "           queued       Priority",
        "     0.0 s  ready        done",
    ]


def test_wait_command(cli: Cli) -> None:
    run = make_run("demo-L1")
    add(run, (1.0, "ready", "done"))
    add(run, (2.0, "serve", "started"))
    found = cli("wait", "L1")
    assert (found.code, found.out) == (0, "demo-L1 is ready: RUNNING, stage serve; waited 0 s\n")
    run.write_json("local.json", DEAD)
    ended = cli("wait", "L1", "--for", "done")
    assert ended.code == 1
    assert "demo-L1 has ended, FAILED (killed: no exit status), before it was done" in ended.err
    add(run, (3.0, "stop", "done", "exit status 0"))
    assert cli("wait", "L1", "--for", "done").out == "demo-L1 is done: COMPLETED, stage stopped; waited 0 s\n"


def test_stages_are_those_of_the_scripts() -> None:
    from launcher.render import render

    for cluster in ("slurm", "local"):
        script = render(plan_of(BASE, "local" if cluster == "local" else "slurm"))
        began = [line.split()[1] for line in script.splitlines() if line.startswith("stage ")]
        assert began == [s for s in STAGES if s in began]
        assert {"who", "ready", "serve"} <= set(began)
