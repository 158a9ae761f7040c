"""The run folder of a job: what its script writes, and everyone else reads.

runs/<name>-<jobid>/  plan.json job.sh hosts placement.json events.jsonl processes endpoint.json
                      warmup.json warmup-2.json ... local.json logs/<group>-<rank>.log logs/job.log
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.base.errors import InputError, WorkError
from launcher.run.planned import SCHEMA, Planned

STAGES = ("who", "preflight", "kernels", "keys", "services", "workers", "frontend", "ready", "warm", "serve", "stop")
_MADE_BY = re.compile(r"made by sgl-launch ([\w.+-]+?)\.?$", re.M)
# What the script writes, and an earlier attempt (or an earlier job of that number) has left: moved to
# attempts/ before the script begins.
SET_ASIDE = (
    "events.jsonl", "plan.json", "job.sh", "hosts", "who", "spares", "placement.json", "endpoint.json", "reason",
    "processes", "warmup.json", "steps", "logs",
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """One line of events.jsonl; `time` in seconds since the epoch."""

    time: float
    stage: str
    state: str
    detail: str = ""


@dataclass(frozen=True)
class Node:
    """A node of the allocation: index, host name, address and interface."""

    index: int
    host: str
    address: str
    interface: str


@dataclass(frozen=True)
class RunFolder:
    """A run folder that exists; files in it appear as the job goes on."""

    path: Path

    @property
    def job_id(self) -> str:
        return self.path.name.rpartition("-")[2]

    @property
    def name(self) -> str:
        return self.path.name.rpartition("-")[0]

    def json(self, file: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None while it is not there or not whole."""
        try:
            value = json.loads((self.path / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def plan(self) -> Planned:
        """plan.json. Raises WorkError when the job has not written it yet, and for one that is of another schema."""
        plan = self.plan_or_none()
        if plan is None:
            raise WorkError(f"{self.path} has no plan.json: the job has not started yet")
        return plan

    def plan_or_none(self) -> Planned | None:
        """plan.json; None while the job has not written it. Raises WorkError for one that is of another schema."""
        mapping = self.json("plan.json")
        if mapping is None:
            return None
        made_by = self.made_by() if mapping.get("schema") != SCHEMA else ""
        return Planned.read(mapping, f"{self.path}/plan.json", made_by)

    def made_by(self) -> str:
        """The version of sgl-launch that made the job's script; empty while that is not known."""
        try:
            with (self.path / "job.sh").open(encoding="utf-8", errors="replace") as f:
                found = _MADE_BY.search(f.read(2000))
        except OSError:
            return ""
        return found[1] if found else ""

    def placement(self) -> dict[str, Any] | None:
        return self.json("placement.json")

    def nodes(self) -> list[Node]:
        """The nodes by index; empty until the job has found them."""
        try:
            lines = (self.path / "hosts").read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        fields = [line.split() for line in lines]
        return [Node(int(f[0]), f[1], f[2], f[3]) for f in fields if len(f) == 4]

    def events(self) -> list[Event]:
        """The events so far, oldest first; a half-written last line is left out."""
        try:
            lines = (self.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                item = json.loads(line)
                found.append(Event(item["time"], item["stage"], item["state"], item.get("detail", "")))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add_event(self, stage: str, state: str, detail: str = "") -> None:
        """Append an event, as the script does."""
        import time

        line = {"time": round(time.time(), 3), "stage": stage, "state": state, "detail": detail}
        try:
            with (self.path / "events.jsonl").open("a", encoding="utf-8") as f:
                f.write(json.dumps(line) + "\n")
        except OSError:
            pass  # a full disk loses the line, not the job

    def later_sweeps(self) -> list[str]:
        """Files of the sweeps that were run by hand in this attempt, oldest first: warmup-2.json, ...
        (warmup.json is the job's own, the cold one)."""
        events = self.events()
        began = events[0].time if events else 0.0
        found = [p for p in self.path.glob("warmup-*.json") if p.stem.removeprefix("warmup-").isdecimal()]
        return [p.name for p in sorted(found, key=_sweep_number) if p.stat().st_mtime >= began]

    def next_sweep(self) -> str:
        """The file of the next one."""
        numbers = [_sweep_number(self.path / name) for name in self.later_sweeps()]
        return f"warmup-{max(numbers, default=1) + 1}.json"

    def set_aside_older(self, than: float) -> None:
        """Move what a job of the same number left here, last changed before `than`, to attempts/.

        Numbers come back when a cluster is set up anew. The job's script does the same when it
        begins; who reads the folder before that must not take the old for the new.
        """
        import time

        events = self.path / "events.jsonl"
        if not events.exists() or events.stat().st_mtime >= than:
            return
        aside = self.path / "attempts" / time.strftime("before-%Y%m%dT%H%M%S")
        aside.mkdir(parents=True, exist_ok=True)
        for name in SET_ASIDE:
            try:
                (self.path / name).rename(aside / name)
            except OSError:
                continue  # not there, or the script was quicker

    def write_json(self, file: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file so that no reader ever sees half of it."""
        temporary = self.path / f".{file}.new"
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.path / file)


def _sweep_number(path: Path) -> int:
    return int(path.stem.removeprefix("warmup-"))


def resolve_port(value: int | str, placement: Mapping[str, Any]) -> int:
    """A port of plan.json as a number: `P+n` is n above the job's base. Raises WorkError while that is not known."""
    if isinstance(value, int):
        return value
    base = placement.get("port_base")
    if not isinstance(base, int):
        raise WorkError("placement.json has no port_base: the job has not chosen its ports")
    return base + int(value.removeprefix("P+"))


def find_runs(runs: Path) -> list[RunFolder]:
    """All run folders, oldest first."""
    if not runs.is_dir():
        return []
    folders = [p for p in runs.iterdir() if p.is_dir() and "-" in p.name]
    return [RunFolder(p) for p in sorted(filter(_is_run_folder, folders), key=_begin)]


def _is_run_folder(path: Path) -> bool:
    """A job that waits has no events yet; one whose script was not handed over by `submit`, or whose
    `submit` was killed, has no submit.json."""
    return any((path / file).exists() for file in ("events.jsonl", "submit.json", "local.json"))


def _begin(path: Path) -> float:
    """When the job was submitted, or began: these two files are written once."""
    files = [path / "submit.json", path / "plan.json"]
    return min((f.stat().st_mtime for f in files if f.exists()), default=path.stat().st_ctime)


def is_run(job: str, runs: Path) -> bool:
    """Whether this names a run (rather than an address)."""
    folder = Path(job)
    if _is_run_folder(folder):
        return True
    return any(job in (r.job_id, r.name, r.path.name) for r in find_runs(runs))


def find_run(job: str | None, runs: Path) -> RunFolder:
    """A run by folder, job id or name (the newest of that name); the newest run without one.

    Raises InputError when there is none, naming the ones there are.
    """
    if job and _is_run_folder(Path(job)):
        return RunFolder(Path(job).resolve())
    found = find_runs(runs)
    if job is None:
        matching = found
    else:
        matching = [r for r in found if job in (r.job_id, r.name, r.path.name)]
    if matching:
        return matching[-1]
    if not found:
        raise InputError(f"there are no runs in {runs}/; give --runs, or a run folder's path")
    from launcher.base.suggest import nearest  # its package takes long to import

    known = ", ".join(r.path.name for r in found[-8:])
    near = nearest(job or "", {name for r in found for name in (r.name, r.job_id, r.path.name)})
    raise InputError(f"no run {job!r} in {runs}/; the newest ones: {known}{near}")
