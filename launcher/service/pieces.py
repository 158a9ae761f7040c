"""Pieces of a deployment: worker groups in jobs of their own, which join it (launcher.scale). Seen from outside."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import yaml

from launcher.base.counting import counted
from launcher.base.errors import InputError, WorkError
from launcher.run.find import look_up
from launcher.run.folder import RunFolder
from launcher.run.jobstate import JobState
from launcher.run.state import is_local, job_states
from launcher.scale.bridge import COMPONENTS
from launcher.scale.piece import LEAVE
from launcher.service import queue

ENGINES = ("dynamo", "mocker")
_AGAIN = 0.5  # seconds between two questions to Slurm


@dataclass(frozen=True)
class Piece:
    """A job with one worker group of a role; `said` is its last decision, as (state, detail)."""

    run: RunFolder
    role: str
    state: JobState
    said: tuple[str, str] = ("", "")

    @property
    def leaving(self) -> bool:
        return (self.run.path / LEAVE).exists() or self.said[0] in ("leaving", "left")

    def __str__(self) -> str:
        what = ": ".join(filter(None, self.said)) or "is becoming warm"
        if self.state.waiting:
            what = f"waits: {self.state.reason or 'no reason given'}"
        return f"piece {self.run.job_id}  {self.role}  {self.state.state}  {what}"


def comment(head: RunFolder) -> str:
    """Of a deployment's pieces, by which Slurm's queue tells them."""
    return f"{queue.PIECE}{head.path.absolute()}"


def name_of(head: RunFolder, role: str) -> str:
    return f"{head.name[:50]}-{role}"


def pieces(head: RunFolder) -> list[Piece]:
    """Those that have not ended, oldest first."""
    found = _runs(head)
    states = job_states(list(found)) if found else []
    living = [(run, state) for run, state in zip(found, states, strict=True) if not state.ended and not state.forgotten]
    return [Piece(run, found[run], state, _said(run)) for run, state in living]


def _runs(head: RunFolder) -> dict[RunFolder, str]:
    """Of all pieces that a deployment has ever had, with their roles."""
    names, wanted = {name_of(head, role): role for role in COMPONENTS}, f"--comment={comment(head)}"
    named = [run for run in look_up(head.path.parent).runs if run.name in names]
    ours = [run for run in named if wanted in ((run.json("submit.json") or {}).get("options") or ())]
    return {run: names[run.name] for run in ours}


def _said(run: RunFolder) -> tuple[str, str]:
    return next(((e.state, e.detail) for e in reversed(run.events()) if e.stage == "piece"), ("", ""))


def wishes(words: Sequence[str]) -> dict[str, int]:
    """`decode=3 prefill=2`. Raises InputError."""
    found = {}
    for word in words:
        match = re.fullmatch(r"(prefill|decode|aggregated)=(\d{1,4})", word)
        if match is None:
            raise InputError(f"{word!r}: say how many worker groups of which role, such as decode=3")
        found[match[1]] = int(match[2])
    return found


def changes(
    wanted: Mapping[str, int], own: Mapping[str, int], living: Sequence[Piece]
) -> tuple[dict[str, int], list[Piece]]:
    """How many pieces to add by role, and which are to leave: those that wait first, then the newest. Pure. `own` are
    the groups of the job itself, which stay as long as it does. Raises InputError."""
    more, leave = dict[str, int](), list[Piece]()
    for role, count in wanted.items():
        if role not in own:
            raise InputError(f"this deployment has no {role} workers; it has {' and '.join(own)}")
        if count < own[role]:
            groups = counted(own[role], f"{role} worker group")
            raise InputError(f"the job itself has {groups}, which stay as long as it does: at least {role}={own[role]}")
        there = sorted(
            (p for p in living if p.role == role and not p.leaving), key=lambda p: (p.state.waiting, int(p.run.job_id))
        )
        more[role] = max(count - own[role] - len(there), 0)
        leave += reversed(there[count - own[role] :])
    return {role: count for role, count in more.items() if count}, leave


def own_groups(head: RunFolder) -> dict[str, int]:
    """How many worker groups of each role a job has itself, by the config that it was submitted with. Raises
    InputError for a job that nothing can join."""
    if is_local(head):
        raise InputError(f"{head.path.name} runs on one machine; worker groups are added on Slurm")
    try:
        config = yaml.safe_load((head.path / "effective.yaml").read_text(encoding="utf-8"))
        roles = {role: config[role] for role in ("prefill", "decode", "aggregated") if config.get(role)}
        own = {role: int(given.get("workers") or 1) for role, given in roles.items()}
        engine, joins = config.get("engine", "dynamo"), (config.get("service") or {}).get("joins")
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError) as e:
        raise InputError(f"{head.path}/effective.yaml does not tell what the job has: {e}") from None
    if joins:
        raise InputError(f"{head.path.name} is itself a piece of {joins.rpartition('/')[2]}; scale that one")
    refuse_engine(engine)
    return own


def refuse_engine(engine: str) -> None:
    """Raises InputError for an engine whose workers cannot be added to a deployment that runs."""
    if engine not in ENGINES:
        raise InputError(
            f"worker groups are added to Dynamo's frontends alone, and this deployment has engine {engine}, whose "
            "frontend is told its workers when it starts; change the numbers and call `serve` or `submit` again"
        )


def add(head: RunFolder, role: str, roles: Collection[str], options: Sequence[str] = ()) -> str:
    """Queue a job with one more worker group of a role; returns its id. Raises WorkError."""
    file = head.path / "effective.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    given = config.get("services") or {}
    sets = [f"runs={head.path.parent}", f"name={name_of(head, role)}", f"service.joins={head.path}"]
    sets += [f"{one}.workers={int(one == role)}" for one in roles]
    # the frontend of a piece is for its own warm-up
    sets += ["frontend.port=auto", "frontend.replicas=1", "security.tls=off", "spare_nodes=0"]
    sets += [f"service.{key}=null" for key in config.get("service") or {}]
    sets += ["security.endpoint_keys=null"] if (config.get("security") or {}).get("endpoint_keys") else []
    if given.get("where") != "external":
        keys = "null" if (config.get("security") or {}).get("services") == "open" else head.path / "secrets"
        sets += ["services.where=external", f"services.keys={keys}"]
    requests = (config.get("warmup") or {}).get("requests") or {}
    if requests.get("enabled", True):
        # one that does not become warm ends, instead of joining
        sets.append("warmup.requests.required=true")
    return queue.submit_as(file, sets, (f"--comment={comment(head)}", f"--dependency=after:{head.job_id}", *options))


def leave(piece: Piece) -> None:
    """Have a piece take its leave; one that waits in the queue ends at once. Raises WorkError."""
    (piece.run.path / LEAVE).touch()
    if piece.state.waiting:
        queue.ask("scancel", piece.run.job_id)


def end_pieces(head: RunFolder, timeout: float) -> list[str]:
    """End all pieces of a deployment now; returns their ids. Raises WorkError after `timeout` seconds."""
    deadline, told = time.monotonic() + timeout, set[str]()
    if not _runs(head):
        return []
    while left := queue.queued_as(re.escape(comment(head))):
        if new := [job for job in left if job not in told]:
            queue.ask("scancel", *new)
            told |= set(new)
        if time.monotonic() > deadline:
            raise WorkError(f"pieces {', '.join(left)} have not ended {timeout:.0f} s after they were told to")
        time.sleep(_AGAIN)
    return sorted(told, key=int)
