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

from launcher.base.errors import WorkError
from launcher.base.programs import run_command
from launcher.front.caddy import DOOR, client_upstreams
from launcher.job.ready import wait_for_chat
from launcher.run.deployment import read_deployment
from launcher.run.folder import RunFolder
from launcher.run.slurm import environment
from launcher.run.state import job_state
from launcher.service.admin import Admin
from launcher.service.door import Door
from launcher.service.links import Link, lead_of, link_of, links, next_step

EVERY = 5.0  # seconds between two looks at the run folders and the queue
LINGER = 5.0  # seconds after the hand-over in which gateways and clients find the new address
PROOF = 30.0  # seconds for the next link to answer a request from this node
COMMENT = "sgl-launch-service={}"  # of the jobs, by which `cancel` finds them


class Keeper:
    """Of one link."""

    def __init__(self, run: RunFolder) -> None:
        config = run.plan().config
        service = config["service"]
        self.run, self.until, self.given_lead = run, float(service["until"]), service.get("lead")
        self.admin, self.door = Admin(_scratch(run) / "admin.sock"), Door(_scratch(run), DOOR)
        self.front = (run.path / "secrets" / "front.json").read_text(encoding="utf-8")
        self._ends, self._asked, self._said = 0.0, 0.0, ""

    async def keep(self) -> None:
        """Returns when this link has nothing more to do."""
        while True:
            found = links(self.run.name, self.run.path.parent)
            own = next((x for x in found if x.run.path == self.run.path), None) or link_of(
                self.run, job_state(self.run)
            )
            later = [x for x in found if x.number > own.number]
            step = next_step(own, later, time.time(), self.ends(), self.until, lead_of(own, self.given_lead))
            try:
                if step.do == "end":
                    self.say("ended", step.why)
                    return
                if step.do == "hand over" and step.link is not None:
                    await self.hand_over(step.link)
                    return
                if step.do == "let go" and step.link is not None:
                    self.say("let-go", step.link.run.job_id)
                    self.slurm("scontrol", "update", f"JobId={step.link.run.job_id}", "Dependency=")
                elif step.do == "submit":
                    self.submit()
                elif step.why:
                    self.say("waits", f"{step.link.run.job_id} is {step.why}" if step.link else step.why)
            except WorkError as e:
                self.say("trouble", str(e))
            await asyncio.sleep(EVERY)

    async def hand_over(self, link: Link) -> None:
        """New requests go to `link` from here on; returns when the old ones have ended. Raises WorkError, with nothing
        changed, where `link` does not answer a request from here."""
        next_one = read_deployment(link.run)
        await wait_for_chat(next_one, time.monotonic() + PROOF)
        self.door.lead(next_one.endpoint, next_one.ca)
        self.say("handed-over", f"to {link.run.job_id} at {next_one.endpoint}")
        begin, own, quiet = time.monotonic(), client_upstreams(self.front), 0
        while quiet < 3 or time.monotonic() < begin + LINGER:
            await asyncio.sleep(0.5)
            running = self.admin.running()
            # the job's own questions at intervals are among them
            quiet = quiet + 1 if not any(running.get(one) for one in own) else 0
        self.say("empty", "the requests of this link have ended")

    def submit(self) -> None:
        """Queue the next link. It starts at once should this one fail, else when it is let go."""
        words = [sys.executable, "-m", "launcher.cli", "submit", str(self.run.path / "effective.yaml"),
                 "--no-check", "--parsable", f"--set=runs={self.run.path.parent}", "--",
                 *submit_options(self.run.name, self.run.job_id)]  # fmt: skip
        code, output = run_command(words, 150.0)
        if code:
            raise WorkError(f"the next link could not be queued: {' '.join(output.split())[-300:]}")
        self.say("queued", output.split()[0])

    def ends(self) -> float:
        """When Slurm ends this job, in seconds since the epoch. Asked once a minute: the controller is everyone's."""
        now = time.monotonic()
        if not self._ends or now > self._asked + 60:
            self._asked = now
            code, output = run_command(["squeue", "-h", "-j", self.run.job_id, "-o", "%e"], 10.0, environment())
            try:
                self._ends = time.mktime(time.strptime(output.strip(), "%Y-%m-%dT%H:%M:%S"))
            except ValueError:  # no limit, or no answer
                self._ends = self._ends or float("inf")
                self._asked = now - 50 if code else now
        return self._ends

    def slurm(self, *words: str) -> None:
        code, output = run_command(list(words), 20.0, environment())
        if code:
            raise WorkError(f"{words[0]}: {' '.join(output.split())}")

    def say(self, state: str, detail: str) -> None:
        """Into the run's record and the job's output, once."""
        if (text := f"{state}: {detail}") != self._said:
            self._said = text
            self.run.add_event("link", state, detail)
            print(f"service {self.run.name}: {text}", flush=True)


def submit_options(name: str, after: str = "") -> list[str]:
    """sbatch's options of a link; `after` is the job whose failure it waits for."""
    wait = [f"--dependency=afternotok:{after}", "--kill-on-invalid-dep=yes"] if after else []
    return [f"--comment={COMMENT.format(name)}", *wait]


def _scratch(run: RunFolder) -> Path:
    """The folder that the job's processes share on this node."""
    name = (run.path / "scratch").read_text(encoding="utf-8").strip()
    folders = [Path(root) / name for root in (os.environ.get("TMPDIR"), "/tmp") if root]
    return next((f for f in folders if f.is_dir()), folders[-1])


if __name__ == "__main__":
    asyncio.run(Keeper(RunFolder(Path(sys.argv[1]))).keep())
