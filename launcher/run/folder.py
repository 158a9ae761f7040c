"""The run folder of a job: what its script writes, and everyone else reads.

runs/<name>-<jobid>/  plan.json job.sh hosts placement.json events.jsonl processes endpoint.json
                      warmup.json warmup-2.json ... local.json logs/<group>-<rank>.log logs/job.log
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.base.errors import WorkError
from launcher.base.terminal import visible
from launcher.front.keys import Keys, read_keys
from launcher.run.planned import SCHEMA, Planned

STAGES = ("nodes", "preflight", "kernels", "keys", "services", "workers", "frontend", "ready", "warm", "serve", "stop")
_FORMER = {"who": "nodes"}  # names of stages in runs of earlier versions
_MADE_BY = re.compile(r"made by sgl-launch ([\w.+-]+?)\.?$", re.M)
# What the script writes, and an earlier attempt (or an earlier job of that number) has left: moved to
# attempts/ before the script begins (patterns of names).
SET_ASIDE = (
    "events.jsonl", "plan.json", "job.sh", "hosts", "who", "spares", "placement.json", "endpoint.json", "reason",
    "processes", "scratch", "warmup.json", "steps", "logs", "targets.json", "preflight.txt", "warmup-*.json",
    "metrics.prom",
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
class Endpoint:
    """Where clients go, http(s)://HOST:PORT, the model's name there, and the file of the authority that vouches for it,
    if that is the job's own. With `socket`, the path of a unix socket, the URL is one of the job's own network."""

    url: str
    model: str
    ca: str | None = None
    socket: str | None = None

    @property
    def base(self) -> str:
        """What OpenAI's clients call their base URL; unix:PATH, which no client mistakes for another's address."""
        return f"unix:{self.socket}" if self.socket else f"{self.url}/v1"

    @property
    def shown(self) -> str:
        return f"unix:{self.socket}" if self.socket else self.url


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

    @property
    def names(self) -> tuple[str, str, str]:
        """What a command's JOB may call it, besides its path."""
        return self.job_id, self.name, self.path.name

    def json(self, file: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None while it is not there or not whole."""
        try:
            value = json.loads((self.path / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def plan(self) -> Planned:
        """plan.json. Raises WorkError when the job has not written it yet, and for one that is of another schema."""
        if plan := self.plan_or_none():
            return plan
        raise WorkError(f"{self.path} has no plan.json: the job has not started yet")

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

    def endpoint(self) -> Endpoint | None:
        """endpoint.json: there while the deployment is ready."""
        found = self.json("endpoint.json") or {}
        url, model = found.get("url"), found.get("model")
        if not isinstance(url, str) or not isinstance(model, str):
            return None
        ca, path = (visible(v) if isinstance(v := found.get(key), str) else None for key in ("ca", "socket"))
        return Endpoint(visible(url), visible(model), ca, path)

    def keys(self) -> Keys:
        """The endpoint's keys; only the run's owner can read them."""
        return read_keys(self.path / "secrets")

    @property
    def of_service(self) -> bool:
        """Whether it is a job of a service (`serve`), and not just of a service's name."""
        options = (self.json("submit.json") or {}).get("options") or ()
        return any(str(one).startswith("--comment=sgl-launch-service=") for one in options)

    @property
    def ours(self) -> bool:
        """Whether the folder is the caller's: what anyone else's says is believed by no command that acts."""
        return owned(self.path)

    @property
    def output(self) -> Path:
        """What the job's script printed."""
        return self.path.parent / f"{self.path.name}.out"

    def nodes(self) -> list[Node]:
        """The nodes by index; empty until the job has found them."""
        fields = [visible(line).split() for line in self._lines("hosts")]
        return [Node(int(f[0]), f[1], f[2], f[3]) for f in fields if len(f) == 4 and f[0].isdecimal()]

    def events(self) -> list[Event]:
        """The events so far, oldest first; a half-written last line is left out."""
        found = (_event(line) for line in self._lines("events.jsonl"))
        return [event for event in found if event is not None]

    def attempts_kept(self) -> int:
        """How often the job was requeued, as far as its earlier attempts were set aside."""
        return max((int(p.name) + 1 for p in self.path.glob("attempts/*") if p.name.isdecimal()), default=0)

    def _lines(self, file: str) -> list[str]:
        try:
            return (self.path / file).read_bytes().decode(errors="replace").split("\n")
        except OSError:
            return []

    def add_event(self, stage: str, state: str, detail: str = "") -> None:
        """Append an event, as the script does."""
        line = {"time": round(time.time(), 3), "stage": stage, "state": state, "detail": detail}
        with contextlib.suppress(OSError), (self.path / "events.jsonl").open("a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")  # a full disk loses the line, not the job

    def later_sweeps(self) -> list[str]:
        """Files of the sweeps that were run by hand in this attempt, oldest first: warmup-2.json, ...
        (warmup.json is the job's own, the cold one)."""
        events = self.events()
        began = events[0].time if events else 0.0
        found = {int(p.stem[7:]): p for p in self.path.glob("warmup-*.json") if p.stem[7:].isdecimal()}
        return [p.name for _, p in sorted(found.items()) if p.stat().st_mtime >= began]

    def next_sweep(self) -> str:
        """The file of the next one."""
        latest = ["warmup-1.json", *self.later_sweeps()][-1]
        return f"warmup-{int(latest[7:-5]) + 1}.json"

    def set_aside_older(self, than: float) -> None:
        """Move what a job of the same number left here, last changed before `than`, to attempts/. Numbers come back
        when a cluster is set up anew. The job's script does the same when it begins; who reads the folder before that
        must not take the old for the new."""
        events = self.path / "events.jsonl"
        if not events.exists() or events.stat().st_mtime >= than:
            return
        aside = self.path / "attempts" / time.strftime("before-%Y%m%dT%H%M%S")
        aside.mkdir(parents=True, exist_ok=True)
        for file in left_by_an_attempt(self.path):
            with contextlib.suppress(OSError):  # the script was quicker
                file.rename(aside / file.name)

    def write_json(self, file: str, value: Mapping[str, Any] | list[Any]) -> None:
        """Write a JSON file so that no reader ever sees half of it."""
        temporary = self.path / f".{file}.new"
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.path / file)


def left_by_an_attempt(folder: Path) -> list[Path]:
    """Files and folders of SET_ASIDE that are in a run folder."""
    return [file for pattern in SET_ASIDE for file in folder.glob(pattern)]


def resolve_port(value: int | str, placement: Mapping[str, Any]) -> int:
    """A port of plan.json as a number: `P+n` is n above the job's base. Raises WorkError while that is not known."""
    if isinstance(value, int):
        return value
    base = placement.get("port_base")
    if not isinstance(base, int):
        raise WorkError("placement.json has no port_base: the job has not chosen its ports")
    return base + int(value.removeprefix("P+"))


def _event(line: str) -> Event | None:
    """A line of events.jsonl; None for one that is none. Texts are made fit for a terminal: they have what workers
    said."""
    try:
        item = json.loads(line)
        time, stage, state, detail = item["time"], item["stage"], item["state"], item.get("detail", "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(time, (int, float)) or not all(isinstance(text, str) for text in (stage, state, detail)):
        return None
    return Event(float(time), visible(_FORMER.get(stage, stage)), visible(state), visible(detail))


def owned(path: Path) -> bool:
    """Whether a folder is the caller's, and so is a link that leads to it."""
    try:
        return os.stat(path).st_uid == os.lstat(path).st_uid == os.geteuid()
    except OSError:
        return False
