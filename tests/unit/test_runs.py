"""Run folders, a job's status, and following it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from launcher.base.errors import InputError, WorkError
from launcher.base.processes import start_time
from launcher.plan.show import to_json
from launcher.run.find import find_run, look_up
from launcher.run.folder import Event, Node, RunFolder, resolve_port
from launcher.run.follow import describe, wait_for
from launcher.run.jobstate import JobState
from launcher.run.status import read_status

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
    assert run.events() == [Event(1.0, "nodes", "started"), Event(2.0, "nodes", "done", "x")]


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
    assert {r.path.name for r in look_up(runs).runs} == {"demo-L1", "other-L2"}
    for name in ("L1", "demo", "demo-L1"):
        assert find_run(name, runs).path.samefile(first.path)
    assert find_run(str(second.path), Path("elsewhere")) == second
    assert find_run("runs/other-L2", Path("elsewhere")).path == second.path
    with pytest.raises(InputError, match=r"no run 'demi' in runs/; the newest ones: .*demo-L1"):
        find_run("demi", runs)


# --- status -----------------------------------------------------------------------------------------


def test_status_of_a_job_that_has_just_been_submitted() -> None:
    status = read_status(make_run("demo-L1"))
    assert (status.name, status.job_id, status.state, status.stage) == ("demo", "L1", "RUNNING", "queued")
    assert (status.elapsed, status.endpoint, status.failure, status.ranks) == (None, None, None, [])


def test_status_of_a_job_that_serves() -> None:
    run = make_run("demo-L1")
    run.write_json("plan.json", to_json(plan_of(BASE)))
    run.write_json("endpoint.json", {"url": "http://10.0.0.1:8000", "model": "m"})
    (run.path / "hosts").write_text("0 n001 10.0.0.1 eth0\n")
    add(run, (1.0, "who", "started"), (1.1, "nats", "ready"), (1.2, "etcd", "started"), (1.3, "frontend", "started"))
    add(run, (2.0, "prefill-0", "ready"), (2.1, "ready", "done"), (3.0, "serve", "started"))
    status = read_status(run)
    assert status.stage == "serve"
    assert status.services == {"nats": "ready", "etcd": "started", "frontend": "ready"}
    assert (status.endpoint, status.model) == ("http://10.0.0.1:8000", "m")
    assert [(r.group, r.node, r.host, r.state) for r in status.ranks] == [
        ("prefill-0", 0, "n001", "ready"),
        ("decode-0", 1, "-", "waiting"),
    ]
    assert json.loads(json.dumps(asdict(status)))["ranks"][0]["host"] == "n001"


def test_a_jobs_own_network_is_entered_before_there_are_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user other than root could not: setns(2) refuses a user namespace to a process that has threads."""
    run, seen = make_run("demo-L1"), []
    run.write_json("plan.json", to_json(plan_of(BASE)))
    run.write_json("placement.json", {"port_base": 20000, "socket": "/run/x.sock"})
    (run.path / "hosts").write_text("0 n001 10.0.0.1 eth0\n1 n002 10.0.0.2 eth0\n")
    add(run, (1.0, "nodes", "started"), (1.1, "workers", "done"))
    tasks = Path("/proc/self/task")
    monkeypatch.setattr("launcher.run.deployment.enter_network", lambda _: seen.append(len(os.listdir(tasks))))
    before = len(os.listdir(tasks))
    read_status(run)
    assert seen == [before]


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


def test_status_of_a_job_that_was_requeued(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("demo-17")
    (run.path / "local.json").unlink()
    run.write_json("endpoint.json", {"url": "http://10.0.0.1:8000", "model": "m"})
    add(run, (1.0, "who", "started"), (2.0, "ready", "done"), (3.0, "serve", "failed", "decode-0 ended"))
    add(run, (4.0, "stop", "done", "exit status 1"), (4.1, "stop", "requeued", "without n002"))
    waits = JobState("PENDING", "BeginTime", "squeue", "2026-11-23T12:00:00", "1:00:00")
    monkeypatch.setattr("launcher.run.status.job_state", lambda _: waits)
    status = read_status(run)
    assert (status.stage, status.failure, status.endpoint, status.attempt) == ("queued", None, None, 1)
    assert (status.expected_start, status.time_left, status.requeued) == ("2026-11-23T12:00:00", None, "without n002")
    assert cli("status").out.startswith(
        "waiting for nodes: its time to begin (slurm.begin) has not come; after a requeue Slurm waits some two minutes "
        "(BeginTime)\ndemo  job 17  PENDING\nstage queued, attempt 2\nrequeued: without n002\nexpected start: at any"
    )
    (run.path / "attempts" / "1").mkdir(parents=True)
    assert read_status(run).attempt == 3


def test_status_and_list_commands(cli: Cli) -> None:
    run = make_run("demo-L1", process=DEAD)
    add(run, (10.0, "who", "started"), (12.0, "who", "failed", "no address"))
    shown = cli("status")
    assert shown.code == 0
    assert shown.out.startswith(
        "demo  job L1  FAILED (killed: no exit status)\nstage nodes, 2 s\nnodes failed: no address\nrun folder "
    )
    assert json.loads(cli("status", "L1", "--json").out)["failure"] == "nodes failed: no address"
    rows = json.loads(cli("list", "--json").out)
    assert [(r["job_id"], r["name"], r["state"]) for r in rows] == [("L1", "demo", "FAILED")]
    assert cli("list").out.splitlines()[1].endswith("  (killed: no exit status)")
    make_run("other-L0")  # older by its number, and running
    running = cli("list", "-n", "1", "--running", "--json")
    assert [r["name"] for r in json.loads(running.out)] == ["other"]
    missing = cli("status", "L7")
    assert (missing.code, missing.out) == (2, "")
    assert missing.err == "sgl-launch: no run 'L7' in runs/; the newest ones: demo-L1, other-L0\n"


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
        "     0.0 s  nodes        started",
        "     0.5 s  nodes        done",
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
    clock(lambda: add(run, (1.0, "serve", "started"), (2.0, "stop", "done", "exit status 0")))
    wait_for(run, "done", None, lambda _: None)
    run = make_run("demo-L1", Path("cancelled"), DEAD)
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
    said = r"before it was ready \(waited 0 s\)\. It recorded no reason, and .*/demo-L1\.out is empty or not there"
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
    monkeypatch.setattr("launcher.run.follow.job_state", lambda *_: states.pop(0))
    clock(lambda: None, lambda: None, lambda: add(run, (1.0, "ready", "done")))
    said: list[str] = []
    wait_for(run, "ready", None, said.append)
    assert said == [
        "           queued       it is next in the queue and waits for nodes to become free (Resources)",
        "           queued       jobs of higher priority are before it in the queue (Priority)",
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


# --- jobs that end otherwise than by themselves -------------------------------------------------------


Clock = Callable[..., None]


@pytest.fixture
def slurm_says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What Slurm says, turn by turn; the last for ever."""

    def say(*states: JobState) -> None:
        left = list(states)
        monkeypatch.setattr("launcher.run.follow.job_state", lambda *_: left.pop(0) if len(left) > 1 else left[0])

    return say


def slurm_run(name: str = "demo-17") -> RunFolder:
    run = make_run(name)
    (run.path / "local.json").unlink()
    return run


PENDING, RUNNING = JobState("PENDING", "BeginTime", "squeue"), JobState("RUNNING", "", "squeue")
SERVED = [(1.0, "nodes", "started"), (2.0, "ready", "done"), (3.0, "warm", "done"), (4.0, "serve", "started")]
FAILED = [(5.0, "serve", "failed", "decode-0 ended"), (6.0, "stop", "started"), (7.0, "stop", "done", "exit status 1")]


def anew(run: RunFolder, *events: Any) -> None:
    """The next attempt's script has begun."""
    (run.path / "events.jsonl").write_text("")
    add(run, *events)


def test_a_requeued_job_is_waited_for_again(clock: Clock, slurm_says: Callable[..., None]) -> None:
    run, said = slurm_run(), []
    add(run, *SERVED, *FAILED)
    slurm_says(RUNNING, PENDING, RUNNING, RUNNING, RUNNING)
    clock(
        lambda: add(run, (7.1, "stop", "requeued", "without n002")),
        lambda: None,
        lambda: anew(run, (20.0, "nodes", "started")),
        lambda: add(run, (21.0, "serve", "started"), (22.0, "stop", "done", "exit status 0")),
    )
    wait_for(run, "done", None, said.append)
    assert "           queued       again: without n002" in said
    assert said[-3:] == [
        "     0.0 s  nodes        started",
        "     1.0 s  serve        started",
        "     2.0 s  stop         done  exit status 0",
    ]
    assert sum("decode-0 ended" in line for line in said) == 1


@pytest.mark.parametrize("target", ["ready", "warm"])
def test_a_job_that_waits_again_is_not_ready(clock: Clock, slurm_says: Callable[..., None], target: str) -> None:
    """Slurm requeued it itself, and its script needs a moment to set the old record aside."""
    run = slurm_run()
    add(run, *SERVED)
    slurm_says(PENDING, PENDING, RUNNING)
    clock(lambda: None, lambda: None, lambda: anew(run, *((20.0 + e[0], *e[1:]) for e in SERVED)))
    wait_for(run, target, None, lambda _: None)


@pytest.mark.parametrize("target", ["ready", "warm"])
@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_a_job_that_was_ready_once_is_not_when_it_ends(
    clock: Clock, slurm_says: Callable[..., None], target: str, how: str
) -> None:
    run = slurm_run()
    add(run, *SERVED, (5.0, "serve", how, "SIGTERM"))
    slurm_says(RUNNING, JobState("CANCELLED"))
    clock(lambda: add(run, (6.0, "stop", "done", "exit status 143")))
    with pytest.raises(
        WorkError, match=rf"demo-17 has ended, CANCELLED, before it was {target} .*serve {how}: SIGTERM"
    ):
        wait_for(run, target, None, lambda _: None)


@pytest.mark.parametrize("target", ["ready", "warm", "done"])
@pytest.mark.parametrize("state", [JobState("CANCELLED", "", "sacct"), JobState("FAILED", "NonZeroExitCode", "squeue")])
def test_a_job_that_was_killed_while_it_served(
    clock: Clock, slurm_says: Callable[..., None], target: str, state: JobState
) -> None:
    """It recorded nothing about it."""
    run = slurm_run()
    add(run, *SERVED)
    slurm_says(state)
    clock(lambda: None)
    with pytest.raises(WorkError, match=f"demo-17 has ended, {state.state}.*, before it was {target}"):
        wait_for(run, target, None, lambda _: None)


def test_a_job_that_left_no_record_and_that_slurm_has_forgotten(clock: Clock, slurm_says: Callable[..., None]) -> None:
    run = slurm_run()
    slurm_says(JobState("UNKNOWN", "squeue: Invalid job id specified; sacct: nothing", forgotten=True))
    clock(lambda: None)
    run.output.write_text("".join(f"line {n}\n" for n in range(9)) + "slurmstepd: \x1b]0;t\x07 no such file\n")
    with pytest.raises(WorkError) as error:
        wait_for(run, "ready", None, lambda _: None)
    assert str(error.value).splitlines() == [
        "demo-17 has ended, and Slurm does not know it any more (squeue: Invalid job id specified; sacct: nothing), "
        f"before it was ready (waited 0 s). It recorded no reason; the last lines of {run.output}:",
        *(f"  line {n}" for n in range(5, 9)),
        "  slurmstepd: \\x1b]0;t\\x07 no such file",
    ]


def test_a_controller_that_hangs_ends_no_waiting(clock: Clock, slurm_says: Callable[..., None]) -> None:
    run, said = slurm_run(), []
    slurm_says(JobState("UNKNOWN", "Slurm did not answer within 10 s"))
    clock(lambda: None, lambda: None, lambda: add(run, *SERVED))
    wait_for(run, "ready", None, said.append)
    assert said[0] == "           queued       Slurm did not answer within 10 s"
    assert len(said) == 1 + len(SERVED)


def test_a_job_that_drained_before_it_served_is_not_done(clock: Clock) -> None:
    run = make_run("demo-L1", process=DEAD)
    add(run, (1.0, "nodes", "started"), (2.0, "nodes", "drained", "SIGUSR2"), (3.0, "stop", "done", "exit status 0"))
    clock()
    with pytest.raises(WorkError, match="demo-L1 drained: asked to end before it served"):
        wait_for(run, "done", None, lambda _: None)


# --- folders of others --------------------------------------------------------------------------------


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run folder of another user, newer than ours; a link of theirs that leads to ours; one that nobody may read."""
    ours, theirs = make_run("demo-L1"), make_run("demo-L2", process=DEAD)
    (ours.path.parent / "demo-L3").symlink_to(ours.path)
    real_stat, real_lstat = os.stat, os.lstat

    def owner(of: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
            found = of(path, *args, **kwargs)
            name = Path(path).name if isinstance(path, (str, Path)) else ""
            foreign = name == "demo-L2" or (name == "demo-L3" and of is real_lstat)
            return os.stat_result((*found[:4], os.geteuid() + 1, *found[5:])) if foreign else found

        return stat

    monkeypatch.setattr("launcher.run.folder.os.stat", owner(real_stat))
    monkeypatch.setattr("launcher.run.folder.os.lstat", owner(real_lstat))
    return theirs


def test_folders_of_others_are_skipped_and_counted(cli: Cli, others: RunFolder) -> None:
    assert [r.path.name for r in look_up(Path("runs")).runs] == ["demo-L1"]
    assert find_run(None, Path("runs")).job_id == "L1"
    listed = cli("list", "--json")
    assert [row["job_id"] for row in json.loads(listed.out)] == ["L1"]
    assert listed.err == "2 run folders of other users are not shown\n"
    missing = cli("status", "L2")
    assert missing.code == 2
    assert "no run 'L2' in runs/; the newest ones: demo-L1" in missing.err
    assert "(2 run folders of other users are not shown)" in missing.err


def test_a_folder_that_cannot_be_read(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("demo-L1")
    locked = make_run("demo-L2").path
    monkeypatch.setattr("launcher.run.folder.os.access", lambda path, mode: Path(path).name != locked.name)
    assert [row["job_id"] for row in json.loads(cli("list", "--json").out)] == ["L1"]


# --- text of workers ------------------------------------------------------------------------------------

HOSTILE = "\x1b]0;title\x07 \x1b]52;c;aGk=\x1b\\ \x1bP1$r\x1b\\ \x9b31m \x1b(0 \u202e \x1b[2J \x1b[31mred\x1b[0m \x08"


@pytest.mark.parametrize(
    "words", [("logs", "L1"), ("logs", "L1", "-n", "5"), ("logs", "L1", "--why"), ("status",), ("wait",), ("list",)]
)
def test_nothing_that_a_worker_says_reaches_the_terminal_as_it_is(cli: Cli, words: tuple[str, ...]) -> None:
    run = make_run("demo-L1", process=DEAD)
    run.write_json("plan.json", to_json(plan_of(BASE)))
    (run.path / "logs" / "prefill-0-0.log").write_text(f"ERROR {HOSTILE}\nCUDA out of memory {HOSTILE}\n")
    run.output.write_text(HOSTILE)
    run.write_json("endpoint.json", {"url": HOSTILE, "model": HOSTILE})
    (run.path / "hosts").write_text(f"0 {HOSTILE.replace(' ', '')} 10.0.0.1 lo\n")
    add(run, (1.0, HOSTILE, "started", HOSTILE), (2.0, "ready", "failed", HOSTILE), (3.0, "prefill-0", HOSTILE))
    done = cli(*words)
    for text in (done.out, done.err):
        assert not [c for c in text if (not c.isprintable() and c not in "\n\t") or c == "\u202e"]
    if words != ("list",):
        assert "\\x1b]0;title\\x07" in done.out + done.err
