"""What brings a piece's workers into the deployment that it joins: one process beside the supervisor of its job.

    python -m launcher.scale.piece RUN

The piece's own frontend, in its own name space, proves and warms its workers. Those that are warm are then shown to the
deployment's frontends, and none before that. When the piece is to leave (`scale` down, or its time is nearly over), or
the deployment ends, its workers are taken from the frontends first, and this process ends with status 0 once their
requests have.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import re
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from launcher.base.errors import WorkError, reason
from launcher.run.deployment import GroupAddress, read_deployment
from launcher.run.folder import RunFolder
from launcher.run.history import History
from launcher.run.slurm import end_of
from launcher.run.state import job_state
from launcher.scale.bridge import COMPONENTS, Bridge

LEAVE = "leave"  # a file of the run folder: the piece is to leave
EVERY = 0.5  # seconds between two looks
ASKED = 30.0  # seconds between two questions to Slurm: whether the deployment lives, when this job ends
SPARE = 10.0  # seconds of the job's time that are left when its requests have ended and its processes were stopped
_PDEATHSIG = 1  # of prctl(2)
SETTLE = 1.0  # seconds in which a request that was sent to a worker just now has come there
_RUNNING = re.compile(r'^dynamo_component_inflight_requests\{[^}]*dynamo_endpoint="generate"[^}]*\} (\S+)', re.M)


class Piece:
    def __init__(self, run: RunFolder) -> None:
        config = run.plan().config
        self.run, self.head = run, RunFolder(Path(config["service"]["joins"]))
        self.limits, self.sweeps = config["timeouts"], config["warmup"]["requests"]["enabled"]
        own, borrowed = {g.role for g in run.plan().groups}, ("prefill", "decode")
        lacking = {COMPONENTS[role] for role in borrowed if config.get(role) and role not in own}
        deployment = read_deployment(self.head)
        self.bridge = Bridge(deployment, f"sgl-launch-{run.job_id}", f"sgl-launch-{self.head.job_id}", lacking)
        self._asked = -ASKED
        self._ends, self._head_ended = float("inf"), ""
        self._said = ""

    def keep(self) -> None:
        """Returns when this piece has nothing more to do."""
        while not (why := self._over()):
            good, names = self._good(), set[str]()
            try:
                shown = self.bridge.show({g.rpc for g in good})
                names = {g.name for g in good if g.rpc in shown}
            except Exception as e:  # any of grpc's and pyetcd's: etcd may be back a moment later
                self.say("trouble", f"etcd of {self.head.path.name}: {reason(e)}")
            else:
                self.say("joined", ", ".join(sorted(names))) if names else self.say("waits", "no worker is warm yet")
            time.sleep(EVERY)
        self.say("leaving", why)
        self.part()
        if self.bridge.ever and not self._head_ended:
            self._drain()
        self.say("left", "no request runs here")

    def _over(self) -> str:
        """Why the piece is to leave; empty while it is not."""
        if time.monotonic() > self._asked + ASKED:
            self._asked = time.monotonic()
            state = job_state(self.head, 10.0)
            self._head_ended = f"{self.head.path.name} is {state}" if state.ended or state.waiting else ""
            with contextlib.suppress(WorkError):  # Slurm's controller is away
                self._ends = end_of(self.run.job_id) or float("inf")
        if History.read(self.head).leaving:
            self._head_ended = f"{self.head.path.name} ends"
        if self._head_ended:
            return self._head_ended
        if (self.run.path / LEAVE).exists():
            return "it was told to"
        last = self._ends - self.limits["drain"] - self.limits["stop"] - SPARE
        return "its time is nearly over" if time.time() > last else ""

    def _good(self) -> list[GroupAddress]:
        """The groups that answer and are warm."""
        try:
            groups = read_deployment(self.run).groups
        except WorkError:  # it has no nodes yet
            return []
        return [g for g in groups if is_good(History.read(self.run), g.name, self.sweeps)]

    def part(self) -> None:
        """Take all workers from the deployment's frontends."""
        deadline = time.monotonic() + 5
        while True:
            try:
                self.bridge.show(())
                return
            except Exception as e:  # etcd is away: then the workers' leases end with them
                if time.monotonic() > deadline:
                    return self.say("trouble", f"etcd of {self.head.path.name}: {reason(e)}")
            time.sleep(EVERY)

    def _drain(self) -> None:
        """Returns when the workers' requests have ended, or this job's time is over."""
        deployment, begun, quiet = read_deployment(self.run), time.monotonic(), 0
        while quiet < 2 and time.time() < self._ends - self.limits["stop"] - SPARE:
            time.sleep(EVERY)
            counts = [running(g) for g in deployment.groups]
            known = [count for count in counts if count is not None]
            waited = time.monotonic() - begun
            over = len(known) == len(counts) or waited > self.limits["drain"]  # where it is not told, as long as that
            quiet = quiet + 1 if over and not sum(known) and waited > SETTLE else 0

    def say(self, state: str, detail: str) -> None:
        """Into the run's record and the job's output, once."""
        if (text := f"{state}: {detail}") != self._said:
            self._said = text
            self.run.add_event("piece", state, detail)
            print(f"piece of {self.head.path.name}: {text}", flush=True)


def is_good(history: History, group: str, sweeps: bool) -> bool:
    """Whether a worker group answers and is as warm as it can be: one that was started again is not kept away for
    ever."""
    last = next((e.state for e in reversed(history.events) if e.stage == group), "")
    state = history.process(group).state
    return state == "warm" or (state == "ready" and (not sweeps or last == "not warm"))


def running(group: GroupAddress) -> int | None:
    """Requests that run at a worker; none where nothing listens, None where it does not tell."""
    connection = http.client.HTTPConnection(group.address, group.ports["system"], timeout=5)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode(errors="replace")
    except ConnectionRefusedError:
        return 0
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    found = [float(number) for number in _RUNNING.findall(text)]
    return int(sum(found)) if found else None


def main(folder: str) -> None:
    try:
        piece = Piece(RunFolder(Path(folder)))
    except WorkError as e:
        sys.exit(f"piece: {e}")

    def ended(*_: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(1)

    signal.signal(signal.SIGTERM, ended)
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)  # its supervisor's end is that of the workers too
    try:
        piece.keep()
    finally:
        with contextlib.suppress(Exception):
            piece.bridge.hide()


if __name__ == "__main__":
    main(sys.argv[1])
