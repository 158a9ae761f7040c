"""Worker groups in jobs of their own: which are added or leave, what they are told, whom frontends are shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from launcher.base.errors import InputError, WorkError
from launcher.cli import cli
from launcher.config.load import load_config
from launcher.plan.make import make_plan
from launcher.render import render
from launcher.run.folder import Event, RunFolder
from launcher.run.history import History
from launcher.run.jobstate import JobState
from launcher.scale import bridge
from launcher.scale.joined import services_of
from launcher.scale.piece import is_good
from launcher.service import pieces, queue
from launcher.service.pieces import Piece
from tests.slurm.deploy import small

RUNNING, WAITS = JobState("RUNNING"), JobState("PENDING", "Priority")
OWN = {"prefill": 1, "decode": 2}


def piece(number: int, state: JobState = RUNNING, role: str = "decode", said: tuple[str, str] = ("", "")) -> Piece:
    return Piece(RunFolder(Path(f"/runs/m-{role}-{number}")), role, state, said)


@pytest.mark.parametrize(
    ("wanted", "living", "add", "leave"),
    [
        ({"decode": 4}, [], {"decode": 2}, []),
        ({"decode": 4, "prefill": 2}, [piece(5)], {"decode": 1, "prefill": 1}, []),
        ({"decode": 4}, [piece(5), piece(6, said=("leaving", "it was told to"))], {"decode": 1}, []),
        ({"decode": 2}, [piece(5), piece(6)], {}, [6, 5]),
        ({"decode": 3}, [piece(5), piece(6)], {}, [6]),
        ({"decode": 3}, [piece(5, WAITS), piece(6)], {}, [5]),  # one that waits goes before one that serves
        ({"decode": 3}, [piece(5), piece(7, role="prefill")], {}, []),
    ],
)
def test_what_to_add_and_which_leave(
    wanted: dict[str, int], living: list[Piece], add: dict[str, int], leave: list[int]
) -> None:
    more, gone = pieces.changes(wanted, OWN, living)
    assert more == add
    assert [int(p.run.job_id) for p in gone] == leave


@pytest.mark.parametrize(
    ("wanted", "why"),
    [({"decode": 1}, "at least decode=2"), ({"aggregated": 3}, "no aggregated workers; it has prefill and decode")],
)
def test_what_cannot_be(wanted: dict[str, int], why: str) -> None:
    with pytest.raises(InputError, match=why):
        pieces.changes(wanted, OWN, [])


@pytest.mark.parametrize("word", ["decode", "decode=-1", "decode=many", "router=2", "3"])
def test_words_that_say_no_number(word: str) -> None:
    with pytest.raises(InputError, match="such as decode=3"):
        pieces.wishes([word])


# --- what a piece is submitted with -----------------------------------------------------------------------------------


def head(folder: Path, **changes: Any) -> RunFolder:
    run = folder / "small-7"
    run.mkdir()
    (run / "effective.yaml").write_text(yaml.safe_dump(json.loads(small(decode=(2, 1))) | changes))
    return RunFolder(run)


def submitted(run: RunFolder, role: str, monkeypatch: pytest.MonkeyPatch) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def submit(config: Path, sets: Sequence[str], given: Sequence[str]) -> str:
        found.append((tuple(sets), tuple(given)))
        return "8"

    monkeypatch.setattr(queue, "submit_as", submit)
    assert pieces.add(run, role, pieces.own_groups(run), ["--time=10"]) == "8"
    return found[0]


@pytest.mark.parametrize(("role", "other"), [("decode", "prefill"), ("prefill", "decode")])
def test_a_piece_has_one_group_and_the_services_of_another_job(
    role: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = head(tmp_path, service={"until": 5, "lead": 3.0}, warmup={"requests": {"enabled": True}})
    sets, given = submitted(run, role, monkeypatch)
    assert given == (f"--comment=sgl-launch-piece={run.path}", "--dependency=after:7", "--time=10")
    plan = make_plan(*load_config(str(run.path / "effective.yaml"), sets))
    assert [(g.name, g.role) for g in plan.groups] == [(f"{role}-0", role)]
    assert (plan.nodes, plan.config.name, plan.services) == (1, f"small-{role}", {})
    assert plan.config.service.until is None
    assert plan.config.warmup.requests.required
    script = render(plan)
    assert 'NATS_SERVER="${JOINED_NATS}" ETCD_ENDPOINTS="${JOINED_ETCD}"' in script
    assert f"KEYS={run.path}/secrets" in script
    assert f"\n{other}() {{" in script  # nothing calls it


def test_roles_on_nodes_of_their_own_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = json.loads(small(decode=(2, 8)))
    config["decode"]["slurm"] = {"partition": "big"}
    run = head(tmp_path, decode=config["decode"])
    plan = make_plan(*load_config(str(run.path / "effective.yaml"), submitted(run, "decode", monkeypatch)[0]))
    assert "#SBATCH --partition=big" in render(plan)
    assert "hetjob" not in render(plan)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"engine": "sglang"}, "whose frontend is told its workers when it starts"),
        ({"service": {"joins": "/runs/small-3"}}, "itself a piece of small-3; scale that one"),
    ],
)
def test_what_nothing_can_join(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        pieces.own_groups(head(tmp_path, **changes))


def test_no_workers_without_a_deployment_to_join(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(small())
    with pytest.raises(InputError, match=r"decode\.workers: must be 1 or more"):
        make_plan(*load_config(str(tmp_path / "c.yaml"), ["decode.workers=0"]))


def test_submit_in_pieces_where_there_is_nothing_to_split(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(small())
    done = CliRunner().invoke(cli, ["submit", str(tmp_path / "c.yaml"), "--pieces"])
    assert "there is nothing to split" in str(done.exception)
    done = CliRunner().invoke(cli, ["submit", str(tmp_path / "c.yaml"), "--pieces", "--set=engine=sglang"])
    assert "engine sglang" in str(done.exception)


def test_the_next_link_has_the_numbers_that_scale_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, said = head(tmp_path), list[Any]()
    run.write_json(queue.SCALE, {"decode": 3})
    monkeypatch.setattr(queue, "submit", lambda *given, **_: said.append(given) or "8")
    queue.submit_next(run)
    assert ["decode.workers=3"] in said[0]


def test_a_deployment_that_ends_has_no_services(tmp_path: Path) -> None:
    run = head(tmp_path)
    run.add_event("stop", "started", "exit status 0")
    with pytest.raises(WorkError, match="has ended"):
        asyncio.run(services_of(str(run.path), 5))
    with pytest.raises(WorkError, match="does not start"):
        asyncio.run(services_of(str(tmp_path / "small-9"), 0))


# --- whom frontends are shown -----------------------------------------------------------------------------------------

INSTANCE, CARD = "v1/instances/{}/{}/generate/{:x}", "v1/mdc/{}/{}/generate/{:x}"
CHANNEL = "v1/event_channels/namespace/{}/component/{}/endpoint/generate/topic/kv-events/{:x}0"


def keys(space: str, component: str, lease: int) -> dict[str, int]:
    return {key.format(space, component, lease): lease for key in (INSTANCE, CARD, CHANNEL)}


def after(before: dict[str, int], shown: set[int], hidden: set[int], borrowed: set[str]) -> dict[str, int]:
    copies, gone = bridge.changes(before, "own", "main", shown, hidden, borrowed)
    kept = {key: lease for key, lease in before.items() if key not in gone}
    return kept | {copy: before[key] for key, copy in copies}


def test_a_worker_is_shown_once_it_is_warm_and_taken_away_again() -> None:
    main = keys("main", "prefill", 1) | keys("main", "backend", 2)
    cold = main | keys("own", "backend", 3)
    lent = after(cold, set(), set(), {"prefill"})
    assert lent == cold | keys("own", "prefill", 1)  # the deployment's prefill workers serve its own frontend
    shown = after(lent, {3}, set(), {"prefill"})
    assert shown == lent | keys("main", "backend", 3)
    assert after(shown, {3}, set(), {"prefill"}) == shown
    assert after(shown, set(), {3}, {"prefill"}) == lent


def test_another_piece_s_workers_are_left_alone() -> None:
    both = keys("main", "backend", 2) | keys("main", "backend", 9) | keys("other", "backend", 9)
    assert after(both, set(), {3}, set()) == both


def test_what_the_deployment_has_no_more_is_no_longer_lent() -> None:
    before = keys("own", "prefill", 1) | keys("own", "backend", 3)
    assert after(before, set(), set(), {"prefill"}) == keys("own", "backend", 3)


def test_a_value_keeps_its_addresses() -> None:
    value = {
        "namespace": "own", "transport": {"tcp": "10.0.0.1:5/3/generate"}, "scopes": [{"namespace": "own"}],
        "subject_prefix": "namespace.own.component.backend", "card_json": {"path": "http://10.0.0.1/own/backend"},
    }  # fmt: skip
    changed = {**value, "namespace": "main", "scopes": [{"namespace": "main"}]}
    assert bridge.moved_value(value, "own", "main") == changed


@pytest.mark.parametrize(
    ("events", "sweeps", "good"),
    [
        ([("decode-0", "ready")], True, False),
        ([("decode-0", "ready")], False, True),
        ([("decode-0", "ready"), ("warm", "done")], True, True),
        ([("decode-0", "ready"), ("warm", "done"), ("decode-0", "restarting")], True, False),
        ([("decode-0", "restarting"), ("decode-0", "ready")], True, False),
        ([("decode-0", "restarting"), ("decode-0", "ready"), ("decode-0", "warm")], True, True),
        ([("decode-0", "restarting"), ("decode-0", "ready"), ("decode-0", "not warm")], True, True),
        ([("decode-0", "ready"), ("warm", "done"), ("decode-0", "lost")], True, False),
    ],
)
def test_which_groups_are_shown(events: list[tuple[str, str]], sweeps: bool, good: bool) -> None:
    history = History.of([Event(float(n), *event) for n, event in enumerate(events)])
    assert is_good(history, "decode-0", sweeps) is good


class Etcd:
    """As much of pyetcd's client as a bridge uses."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[bytes, int]] = {}
        self.deleted: list[str] = []

    def get_prefix(self, prefix: str, keys_only: bool = False) -> list[tuple[bytes, Any]]:
        return [(b"" if keys_only else v, self._meta(k)) for k, (v, _) in self.keys.items() if k.startswith(prefix)]

    def get(self, key: str) -> tuple[bytes, Any]:
        return self.keys[key][0], self._meta(key)

    def put(self, key: str, value: str | bytes, lease: int) -> None:
        self.keys[key] = (value.encode() if isinstance(value, str) else value, lease)

    def delete(self, key: str) -> None:
        self.keys.pop(key, None)
        self.deleted.append(key)

    def _meta(self, key: str) -> Any:
        return SimpleNamespace(key=key.encode(), lease_id=self.keys[key][1])


def test_a_worker_comes_into_the_deployment_and_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    etcd = Etcd()
    for space, component, lease in (("main", "prefill", 1), ("main", "backend", 2), ("own", "backend", 3)):
        for key in keys(space, component, lease):
            value = {
                "namespace": space, "endpoint": "generate", "instance_id": lease,
                "transport": {"tcp": f"10.0.0.{lease}:5/generate"},
            }  # fmt: skip
            etcd.put(key, json.dumps(value), lease)
    before = set(etcd.keys)
    monkeypatch.setattr(bridge, "etcd_client", lambda head: etcd)
    made = bridge.Bridge(None, "own", "main", {"prefill"})  # type: ignore[arg-type]
    assert made.show(()) == set()
    assert not made.ever
    assert set(etcd.keys) == before | set(keys("own", "prefill", 1))
    assert made.show({"10.0.0.3:5"}) == {"10.0.0.3:5"}
    shown = keys("main", "backend", 3)
    assert shown.keys() <= etcd.keys.keys()
    value, lease = etcd.keys[INSTANCE.format("main", "backend", 3)]
    assert (json.loads(value)["namespace"], lease) == ("main", 3)
    made.hide()
    assert etcd.deleted[0] == INSTANCE.format("main", "backend", 3)
    assert not shown.keys() & etcd.keys.keys()
