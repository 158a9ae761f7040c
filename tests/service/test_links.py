"""What a link of a service does next, over all that it may see."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from launcher.base.errors import InputError
from launcher.cli import cli
from launcher.front.keys import service_folder
from launcher.run.find import find_run
from launcher.run.folder import RunFolder
from launcher.run.jobstate import JobState
from launcher.service import queue
from launcher.service.commands.serve import seconds
from launcher.service.commands.wrapped import is_service
from launcher.service.former import former
from launcher.service.idle import Idle, last_request
from launcher.service.links import FAILURES, Link, current, lead_of, links, next_step

RUNNING = JobState("RUNNING")
WAITS = JobState("PENDING", "Priority")
HELD = JobState("PENDING", "Dependency")
FAILED, GONE, UNKNOWN = JobState("FAILED"), JobState("UNKNOWN", forgotten=True), JobState("UNKNOWN")


def link(number: int, state: JobState = RUNNING, warm: bool = False, folder: Path = Path("runs")) -> Link:
    return Link(RunFolder(folder / f"m-{number}"), state, warm, 30.0 if warm else None)


OWN = link(1, warm=True)


@pytest.mark.parametrize(
    ("later", "now", "until", "expected"),
    [
        ([], 0, 10_000, "submit"),
        ([], 0, 1000, "wait"),  # the last one
        ([], 960, 1000, "drain"),
        ([], 1000, 1000, "end"),
        ([link(2, warm=True)], 1000, 1000, "end"),
        ([link(2, HELD)], 0, 10_000, "wait"),
        ([link(2, HELD)], 950, 10_000, "let go"),
        ([link(2, WAITS)], 950, 10_000, "wait"),
        ([link(2, WAITS)], 961, 10_000, "drain"),  # too late
        ([link(2, HELD)], 961, 10_000, "drain"),
        ([link(2, warm=True)], 961, 10_000, "hand over"),
        ([link(2, HELD), link(3, WAITS)], 950, 10_000, "wait"),  # an update waits already
        ([link(2)], 950, 10_000, "wait"),  # it starts
        ([link(2, warm=True)], 0, 10_000, "hand over"),
        ([link(2, UNKNOWN, warm=True)], 0, 10_000, "hand over"),  # slurmctld is away
        ([link(2, FAILED)], 0, 10_000, "submit"),
        ([link(2, GONE)], 0, 10_000, "submit"),
        ([link(2, warm=True), link(3, FAILED)], 0, 10_000, "hand over"),
    ],
)
def test_the_next_step(later: list[Link], now: float, until: float, expected: str) -> None:
    assert next_step(OWN, later, now, ends=1000, until=until, lead=100, drain=40).do == expected


def test_the_newest_warm_link_takes_over() -> None:
    step = next_step(OWN, [link(2, warm=True), link(3, warm=True), link(4)], 0, 1000, 9000, 100)
    assert step.link is not None
    assert step.link.number == 3
    assert current([OWN, link(2, FAILED, warm=True)]) == OWN
    assert current([link(2)]) is None


def test_links_that_fail_again_and_again_are_queued_less_often(tmp_path: Path) -> None:
    later = [link(n, FAILED, folder=tmp_path) for n in range(2, 3 + FAILURES)]
    later[-1].run.path.mkdir()
    failed_at = later[-1].run.path.stat().st_mtime
    far = failed_at + 10_000
    assert next_step(OWN, later, failed_at + 1, far, far + 1, 100).do == "wait"
    assert next_step(OWN, later, failed_at + 61, far, far + 1, 100).do == "submit"


def test_the_lead_follows_from_the_links_own_time_to_warm() -> None:
    assert lead_of(OWN, None) == 180
    assert lead_of(OWN, 40) == 40
    assert lead_of(OWN, None, room=3600) == 3780  # Slurm lets a job like it wait for an hour


def test_lengths_of_time() -> None:
    assert [seconds(t) for t in ("7d", "12h", "90m", "45s", "2w")] == [604800, 43200, 5400, 45, 1209600]
    for wrong in ("7", "d", "0h", "1.5h", "7 days", ""):
        with pytest.raises(InputError, match="--for"):
            seconds(wrong)


def run_of(runs: Path, job: int, options: list[str], config: str, warm: bool = True) -> RunFolder:
    run = RunFolder(runs / f"m-{job}")
    run.path.mkdir()
    run.write_json("submit.json", {"options": options})
    (run.path / "effective.yaml").write_text(config)
    run.add_event("nodes", "started")
    if warm:
        run.add_event("warm", "done")
        run.add_event("stop", "done", "exit status 0")
    return run


def test_the_former_config_is_the_newest_other_one_that_became_warm(tmp_path: Path) -> None:
    service = queue.options(tmp_path, "m")
    run_of(tmp_path, 1, service, "a: 1\nservice: {until: 1}\n")
    run_of(tmp_path, 2, service, "a: 2\n")
    run_of(tmp_path, 3, [], "a: 3\n")  # no job of the service
    run_of(tmp_path, 4, service, "a: 4\n", warm=False)
    now = run_of(tmp_path, 5, service, "a: 2\nservice: {until: 2}\n")
    found = former("m", tmp_path, now)
    assert found is not None
    assert found.job_id == "1"
    assert former("m", tmp_path, found) is None


def test_a_job_of_the_name_that_was_submitted_by_hand_is_no_link(tmp_path: Path) -> None:
    run_of(tmp_path, 1, queue.options(tmp_path, "m"), "a: 1\n")
    run_of(tmp_path, 2, ["--reservation=x"], "a: 1\n")
    assert [found.number for found in links("m", tmp_path, {})] == [1]


def test_the_next_link_gets_the_options_that_the_user_gave(tmp_path: Path) -> None:
    run = run_of(tmp_path, 1, [*queue.options(tmp_path, "m", "7"), "--reservation=night"], "a: 1\n")
    assert queue.more_options(run) == ["--reservation=night"]


def test_services_of_one_name_in_two_folders_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (queue.comment(Path(folder), "m") for folder in ("/a", "/b"))
    said = f"7|{one}\n8|{two}\n9+0|{one}\n10|none of ours\n"
    monkeypatch.setattr(queue, "ask", lambda *words: said)
    assert queue.queued(Path("/a"), "m") == ["9", "7"]


def test_only_clients_requests_count(tmp_path: Path) -> None:
    log = tmp_path / "front-0.log"
    assert last_request(log) == 0
    log.write_text(
        '{"ts":5.5,"status":200,"key":"job"}\n{"ts":6.5,"status":200,"key":"alice"}\n{"ts":7.5,"key":"admin"}\n'
        '{"ts":8.5,"status":401}\nrank: 0\n'
    )
    assert last_request(log) == 6.5


def test_idle_begins_anew_with_each_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m-1" / "logs").mkdir(parents=True)
    now = 1000.0
    monkeypatch.setattr("launcher.service.idle.time.time", lambda: now)
    idle = Idle(RunFolder(tmp_path / "m-1"), 60)
    now = 1050
    assert not idle.over(1)
    now = 1109
    assert not idle.over(0)
    now = 1111
    assert idle.over(0)
    (tmp_path / "m-1" / "logs" / "front-0.log").write_text('{"ts":1100,"key":"job"}\n')
    assert not idle.over(0)
    assert not Idle(RunFolder(tmp_path / "m-1"), None).over(0)


def submitted(runs: Path, number: int, *options: str) -> RunFolder:
    folder = runs / f"m-{number}"
    folder.mkdir(parents=True)
    (folder / "submit.json").write_text(json.dumps({"options": options}))
    os.utime(folder / "submit.json", (number, number))
    return RunFolder(folder)


def test_a_plain_job_may_have_the_name_of_a_former_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cancel NAME` would else end a service that is not there, and leave the job."""
    runs, states = tmp_path / "runs", dict[str, JobState]()
    monkeypatch.setattr("launcher.service.links.job_states", lambda found: [states[run.job_id] for run in found])
    service_folder(runs, "m").mkdir(parents=True)
    assert not is_service("m", runs), "serve has failed before it made a job"
    assert not is_service("other", runs)
    old = submitted(runs, 1, *queue.options(runs, "m"))
    (old.path / "endpoint.json").write_text('{"url": "http://n1:1", "model": "m"}')
    states["1"] = RUNNING
    assert is_service("m", runs)
    plain = submitted(runs, 2)
    assert is_service("m", runs), "the service goes on"
    states["1"] = FAILED
    assert not is_service("m", runs)
    assert find_run("m", runs) == plain, "not the former service's, though that has an endpoint"
    submitted(runs, 3, *queue.options(runs, "m"))
    assert is_service("m", runs)
    assert find_run("m", runs) == old, "the newest of the service that answers"


@pytest.mark.parametrize("words", [["gateway", "nothing"], ["rollback", "nothing"]])
def test_a_service_that_never_was(words: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, [*words, "--runs", str(tmp_path)], standalone_mode=False)
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == f"there is no service 'nothing' in {tmp_path}/; `sgl-launch serve CONFIG` makes one"
