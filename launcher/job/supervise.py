"""`sgl-launch job run`: one asyncio process from the job's first stage to its last process's end."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from launcher.base.errors import reason
from launcher.job.context import Ending, Job
from launcher.job.requeue import requeue
from launcher.job.stages import Failed, Stages
from launcher.job.stop import stop_all

TIDY = 3.0  # seconds for the agents to remove scratch folders and containers


class Supervisor:
    """Runs the stages of a job until something settles its end, and then ends all of it."""

    def __init__(self, job: Job) -> None:
        self.job, self.journal, self.config = job, job.journal, job.plan.config
        self._hurry = asyncio.Event()

    async def supervise(self) -> int:
        """Run all stages and the end; returns the job's exit status."""
        stages = asyncio.create_task(Stages(self.job).run_all(), name="stages")
        waits: list[asyncio.Future[Any]] = [stages, self.job.ending]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not self.job.ending.done():
            self.job.settle(Ending(self._stages_ended(stages)))
        ending = self.job.ending.result()
        stages.cancel()
        self.journal.event("stop", "started", f"exit status {ending.code}")
        self.journal.later(lambda: (self.job.run.path / "endpoint.json").unlink(missing_ok=True))
        await stop_all(
            list(self.job.parts.values()), list(self.job.helpers.values()), self.config.timeouts.stop, ending.drain,
            self._hurry, self.journal,
        )  # fmt: skip
        await self.job.nodes.end(TIDY)
        if path := self.job.addresses.socket:
            Path(path).unlink(missing_ok=True)
        self.journal.later(lambda: shutil.rmtree(self.job.run.path / "secrets", ignore_errors=True))
        self.job.logs.close(1.0)
        if ending.requeue_without is not None:
            await requeue(self.job.job_id, ending.requeue_without, self.config.on_failure.max_requeues, self.journal)
        return ending.code

    def _stages_ended(self, stages: asyncio.Task[None]) -> int:
        """The stages ended by themselves: the exit status."""
        error = stages.exception()
        if error is None:
            return 0
        stage = error.stage if isinstance(error, Failed) else self.journal.stage
        self.journal.fail(stage, reason(error))
        return 1

    def signalled(self, name: str) -> None:
        """TERM and INT end the job; USR2 says that its time is nearly over: running requests may finish."""
        if self.job.ending.done():
            if name != "USR2":
                self._hurry.set()  # whoever asks again does not want to wait for running requests
            return
        if name == "USR2" and self.job.phase == "serving":
            drain = self.config.timeouts.drain
            self.journal.say(f"SIGUSR2: draining for at most {drain:g} s")
            self.journal.event(self.journal.stage, "drained", "SIGUSR2")
            self.journal.failure = "drained before its time was over"
            self.job.settle(Ending(0, drain))
        elif name == "USR2":
            self.journal.fail(self.journal.stage, "SIGUSR2: its time is nearly over, and it has not served yet")
            self.job.settle(Ending(1))
        else:
            self.journal.event(self.journal.stage, "cancelled", f"SIG{name}")
            self.journal.say(f"SIG{name}: stopping")
            self.journal.failure = f"ended by SIG{name}"
            self.job.settle(Ending(130 if name == "INT" else 143))
