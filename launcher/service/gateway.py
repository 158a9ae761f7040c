"""The address that stays: Caddy on a login or service node, before the current link of one or several services.

It is this user's own process. Its Caddy is started again when it dies; no job depends on it, and the keys are asked for
by the links. All it knows is in the run folders, so it may be ended and begun again at any time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.base.errors import WorkError
from launcher.front.caddy import refusal, through, unavailable
from launcher.front.keys import read_keys, service_folder, write_private
from launcher.run.folder import RunFolder
from launcher.run.jobstate import JobState
from launcher.service import queue
from launcher.service.door import Door, last_words, start_caddy
from launcher.service.links import current, links
from launcher.service.wake import Waker

EVERY = 0.5  # seconds between two looks at the run folders
ASKED = 10.0  # seconds between two questions to Slurm, of which jobs live: its controller is everyone's
_NOTHING = "a^"  # a pattern that fits no text


@dataclass(frozen=True)
class Target:
    """A service's model name, and where its current link is; None while there is none. `idle` is the link that ended
    because nobody asked, where no other one is on its way."""

    service: str
    model: str | None
    url: str | None = None
    ca: str | None = None
    run: RunFolder | None = None
    idle: RunFolder | None = None


def find(services: Sequence[str], runs: Path, known: dict[RunFolder, JobState]) -> list[Target]:
    """Where each service is, by its run folders and the states of jobs that are `known`."""
    found = []
    for name in services:
        of_name = links(name, runs, known)
        link = current(of_name)
        endpoint = link.run.endpoint() if link else None
        if link is not None and endpoint is not None:
            found.append(Target(name, endpoint.model, endpoint.url, endpoint.ca, link.run))
            continue
        plans = (one.run.plan_or_none() for one in reversed(of_name))
        model = next((plan.served_name for plan in plans if plan), None)
        last = next((one.run for one in reversed(of_name) if one.run.events()), None)  # not one that only waited
        found.append(Target(name, model, idle=last if last and _was_idle(last) else None))
    return found


def _was_idle(run: RunFolder) -> bool:
    return any((event.stage, event.state) == ("link", "idle") for event in run.events())


def config(listen: str, services: Sequence[str], folder: str, tls: tuple[str, str] | None = None) -> str:
    """Caddy's config, which holds for as long as the gateway runs. What changes is in files of its folder: NAME.sock,
    the door to a service's current link, and NAME.open while there is one; NAME.model, the pattern of requests for its
    model; NAME.key. Several services are told apart by the model that a request names; requests that name none, by the
    key. Pure."""
    routes: list[dict[str, Any]] = []
    several = len(services) > 1
    for name in services if several else ():
        named = f"{{http.request.body}}.matches({{file.{name}.model}})"
        routes.append({"match": [{"method": ["POST"], "expression": named}], "handle": [_to(name, folder)]})
    for name in services if several else ():
        key = f"{{file.{folder}/{name}.key}}"
        bearers = ({"Authorization": [f"Bearer {key}"]}, {"X-Api-Key": [key]})
        match = [{"method": ["GET", "HEAD"], "header": one} for one in bearers]
        routes.append({"match": match, "handle": [_to(name, folder)]})
    if several:
        routes.append({"match": [{"method": ["POST"]}], "handle": [refusal(404, "no service here has this model")]})
    routes.append({"handle": [_to(services[0], folder)]})
    server: dict[str, Any] = {
        "listen": [listen], "protocols": ["h1", "h2"], "automatic_https": {"disable": True},
        "routes": [{**route, "terminal": True} for route in routes],
        "errors": {"routes": [{"handle": [unavailable("the job that served does not answer")]}]},
    }  # fmt: skip
    apps: dict[str, Any] = {"http": {"servers": {"gateway": server}}}
    if tls:
        server["tls_connection_policies"] = [{}]
        apps["tls"] = {"certificates": {"load_files": [{"certificate": tls[0], "key": tls[1]}]}}
    logging = {"logs": {"default": {"level": "ERROR", "writer": {"output": "discard"}}}}
    made = {"admin": {"disabled": True, "config": {"persist": False}}, "logging": logging, "apps": apps}
    return json.dumps(made, indent=1) + "\n"


def _to(name: str, folder: str) -> dict[str, Any]:
    none = {"handle": [unavailable(f"no job of {name} serves now")]}
    return {"handler": "subroute", "routes": [through(folder, name), none]}


class Gateway:
    """One address and the doors behind it; `folder` is this process's own."""

    def __init__(
        self, listen: str, services: Sequence[str], runs: Path, folder: Path, say: Callable[[str], None],
        tls: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.services, self.runs, self.folder, self.say = services, runs, folder, say
        self.doors = {name: Door(folder, name) for name in services}
        self._config = folder / "gateway.json"
        write_private(self._config, config(listen, services, str(folder), tls))
        self._child: subprocess.Popen[bytes] | None = None
        self._known, self._asked = dict[RunFolder, JobState](), -ASKED
        self._said: dict[str, str] = {}
        self._wakers: dict[str, Waker] = {}
        self._idle = set[str]()
        self._runs: dict[str, RunFolder] = {}

    def look(self) -> None:
        """One look at the run folders."""
        if time.monotonic() > self._asked + ASKED:
            self._asked = time.monotonic()
            self._known = {link.run: link.state for name in self.services for link in links(name, self.runs)}
        for target in find(self.services, self.runs, self._known):
            self._follow(target)
        if self._child is None or self._child.poll() is not None:
            if self._child is not None:
                self.say(f"Caddy has ended and is started again: {last_words(self._config)}")
            self._child = start_caddy(self._config)

    def _follow(self, target: Target) -> None:
        name, door = target.service, self.doors[target.service]
        pattern = rf'"model"\s*:\s*"{re.escape(target.model)}"' if target.model else _NOTHING
        self._write(f"{name}.model", pattern)
        self._write(f"{name}.key", read_keys(service_folder(self.runs, name)).endpoint or "no-key")
        try:
            if target.url and target.run:
                self._runs[target.url] = target.run
                door.lead(target.url, target.ca)
            elif target.idle is not None:
                self._idle.add(name)
                door.lead_to_socket(self._waker(name))
            elif door.leads_to and name not in self._idle:
                door.close()
            if target.url:
                self._idle.discard(name)
            said = target.url or ("idle: a request starts it" if target.idle else "no job serves now")
        except WorkError as e:
            said = str(e)
        if self._said.get(name) != said:
            self._said[name] = said
            self.say(f"{name}: {said}")
        door.tidy(lambda url: self._is_dead(url, target))
        if name in self._wakers:
            self._wakers[name].answer()

    def _is_dead(self, url: str, now: Target) -> bool:
        """Whether the job that had this address has ended by now, or was begun again elsewhere."""
        run = self._runs.get(url)
        state = self._known.get(run, JobState("UNKNOWN")) if run else JobState("UNKNOWN")
        return state.ended or state.waiting or (run is not None and run == now.run and url != now.url)

    def _waker(self, name: str) -> Path:
        path = self.folder / f"{name}-wake.sock"
        if name not in self._wakers:
            keys = functools.partial(read_keys, service_folder(self.runs, name))
            self._wakers[name] = Waker(path, keys, functools.partial(self._wake, name))
        return path

    def _wake(self, name: str) -> None:
        """Unless another job is on its way."""
        found = links(name, self.runs)
        if not found or any(link.living for link in found):
            return
        try:
            self.say(f"{name}: a request has come: job {queue.submit_next(found[-1].run, after=False)} is queued")
        except WorkError as e:
            self.say(f"{name}: {e}")

    def _write(self, file: str, text: str) -> None:
        path = self.folder / file
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            new = path.with_suffix(".new")
            new.unlink(missing_ok=True)
            write_private(new, text)
            new.replace(path)

    def end(self) -> None:
        if self._child is not None:
            self._child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(10)
            self._child.kill()
        for door in self.doors.values():
            door.end()


def serve(
    listen: str, services: Sequence[str], runs: Path, say: Callable[[str], None], tls: tuple[str, str] | None
) -> None:
    """Until SIGTERM or SIGINT. Raises WorkError where Caddy is not there."""
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    with tempfile.TemporaryDirectory(prefix="sgl-launch-gateway-") as folder:
        gateway = Gateway(listen, services, runs, Path(folder), say, tls)
        try:
            while not ended:
                gateway.look()
                time.sleep(EVERY)
        finally:
            gateway.end()
