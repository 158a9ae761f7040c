"""What keeps a service going from inside a link: one process beside the supervisor, on the job's first node.

    python -m launcher.service.link RUN

It queues the next link, waits until that one is warm, has the front hand new requests on to it, and ends with status 0
once this link's own requests have ended. Whatever it knows is in the run folders and in Slurm's queue: one that was
killed goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from launcher.base.counting import duration
from launcher.base.errors import WorkError
from launcher.front.caddy import DOOR, client_upstreams
from launcher.job.ready import wait_for_chat
from launcher.run.deployment import read_deployment
from launcher.run.folder import RunFolder
from launcher.run.slurm import end_of
from launcher.run.state import job_state
from launcher.service import queue
from launcher.service.admin import Admin
from launcher.service.door import Door
from launcher.service.idle import Idle
from launcher.service.links import Link, is_leaving, lead_of, link_of, links, next_step

EVERY = 5.0  # seconds between two looks at the run folders and the queue
LINGER = 10.0  # seconds after a hand-over in which gateways and clients find the new address
FORWARD = 60.0  # seconds for which an otherwise empty link goes on handing requests on
SPARE = 10.0  # seconds of the job's time that are left when all requests have ended and all processes were stopped
PROOF = 30.0  # seconds for the next link to answer a request from this node
ENDS, ROOM = 60.0, 600.0  # seconds between two questions to Slurm: when this job ends, when another would start


class Keeper:
    """Of one link."""

    def __init__(self, run: RunFolder) -> None:
        config = run.plan().config
        service, limits = config["service"], config["timeouts"]
        self.drain = float(limits["drain"]) + float(limits["stop"]) + SPARE
        self.run, self.until, self.given_lead = run, float(service["until"]), service.get("lead")
        scratch = _scratch(run)
        self.admin, self.door = Admin(scratch / "admin.sock"), Door(scratch, DOOR)
        text = (run.path / "secrets" / "front.json").read_text(encoding="utf-8")
        self.ways = client_upstreams(text)
        self.own = {one for one in self.ways if not one.startswith("unix/")}
        self.idle = Idle(run, service.get("idle_stop"))
        self._ends: tuple[float, float] | None = None
        self._room: tuple[float, float] | None = None
        self._said = ""

    async def keep(self) -> None:
        """Returns when this link has nothing more to do."""
        while True:
            try:
                if await self._step():
                    return
            except WorkError as e:
                self.say("trouble", str(e))
            await asyncio.sleep(EVERY)

    async def _step(self) -> bool:
        """Whether this link is done. Raises WorkError."""
        found = links(self.run.name, self.run.path.parent)
        own = next((x for x in found if x.run.path == self.run.path), None) or link_of(self.run, job_state(self.run))
        later = [x for x in found if x.number > own.number]
        lead = lead_of(own, self.given_lead, self._wait_for_room())
        step = next_step(own, later, time.time(), self._end_of_job(), self.until, lead, self.drain)
        if step.do == "hand over" and step.link is not None:
            return await self._hand_over(step.link)
        if self.door.leads_to:
            self.door.end()
            self.say("took-back", "the next job does not serve any more; this one does again")
        if step.do == "end":
            self.say("ended", step.why)
            return True
        if step.do == "drain":
            if step.link is not None:
                self._let_go(step.link)
            self.say("drains", step.why)
            return True
        if self.idle.over(self._running(self.ways)):
            for link in later:
                if link.living and not link.warm:
                    queue.ask("scancel", link.run.job_id)
            self.say("idle", f"no request for {duration(self.idle.limit)}")
            return True
        if step.do == "let go" and step.link is not None:
            self._let_go(step.link)
        elif step.do == "submit":
            self.say("queued", queue.submit_next(self.run))
        elif step.why:
            self.say("waits", f"{step.link.run.job_id} is {step.why}" if step.link else step.why)
        return False

    async def _hand_over(self, link: Link) -> bool:
        """New requests go to `link` from here on. Returns True when the old ones have ended, False when `link` has
        begun to end before that. Raises WorkError, with nothing changed, where it does not answer a request from
        here."""
        next_one = read_deployment(link.run)
        await wait_for_chat(next_one, time.monotonic() + PROOF)
        self.door.lead(next_one.endpoint, next_one.ca)
        self.say("handed-over", f"to {link.run.job_id} at {next_one.endpoint}")
        begin, quiet, silent, asked = time.monotonic(), 0, 0, 0.0
        while True:
            await asyncio.sleep(0.5)
            # the job's own questions at intervals are among those of its frontends
            quiet = 0 if self._running(self.own) else quiet + 1
            silent = 0 if self._running(self.ways) else silent + 1
            waited = time.monotonic() - begin
            if (silent >= 3 and waited > LINGER) or (quiet >= 3 and waited > FORWARD):
                self.say("empty", "the requests of this link have ended")
                return True
            if time.time() > self._end_of_job() - self.drain:
                self.say("drains", "its time is over")
                return True
            if is_leaving(link.run) or (waited > asked + EVERY and self._is_gone(link.run)):
                return False
            asked = waited if waited > asked + EVERY else asked

    def _is_gone(self, run: RunFolder) -> bool:
        """Whether Slurm says so: a node that dies writes nothing."""
        state = job_state(run, 5.0)
        return state.ended or state.waiting

    def _let_go(self, link: Link) -> None:
        """It need not wait for this link's failure any more. Raises WorkError."""
        queue.ask("scontrol", "update", f"JobId={link.run.job_id}", "Dependency=")
        self.say("let-go", link.run.job_id)

    def _running(self, ways: set[str]) -> int:
        """Requests that run now, by these ways."""
        running = self.admin.running()
        return sum(running.get(one, 0) for one in ways)

    def _end_of_job(self) -> float:
        """When Slurm ends this job, in seconds since the epoch."""
        now = time.monotonic()
        if self._ends is None or now > self._ends[0] + ENDS:
            try:
                self._ends = (now, end_of(self.run.job_id, queue.LIMIT) or float("inf"))
            except WorkError:  # its controller is away
                if self._ends is None:
                    raise
                self._ends = (now - ENDS + 10, self._ends[1])
        return self._ends[1]

    def _wait_for_room(self) -> float:
        now = time.monotonic()
        if self.given_lead is None and (self._room is None or now > self._room[0] + ROOM):
            self._room = (now, queue.wait_for_room(self.run))
        return self._room[1] if self._room else 0.0

    def say(self, state: str, detail: str) -> None:
        """Into the run's record and the job's output, once."""
        if (text := f"{state}: {detail}") != self._said:
            self._said = text
            self.run.add_event("link", state, detail)
            print(f"service {self.run.name}: {text}", flush=True)


def _scratch(run: RunFolder) -> Path:
    """The folder that the job's processes share on this node."""
    name = (run.path / "scratch").read_text(encoding="utf-8").strip()
    folders = [Path(root) / name for root in (os.environ.get("TMPDIR"), "/tmp") if root]
    return next((f for f in folders if f.is_dir()), folders[-1])


if __name__ == "__main__":
    asyncio.run(Keeper(RunFolder(Path(sys.argv[1]))).keep())
