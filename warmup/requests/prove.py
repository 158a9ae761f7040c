"""One real request answered through every worker: what readiness means.

A model that is listed need not work: its prefill and decode workers may be unable to reach each
other. So a deployment counts as ready when each worker has answered, not when it has registered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .address import parse_address
from .client import Client
from .clock import run as run_loop
from .coverage import Coverage, Roster, Steer, Worker, make_roster
from .session import open_session
from .target import NotServing, Target, look
from .wire import Wire

SIZE = "prove"
PROMPT_TOKENS = 16
OUTPUT_TOKENS = 2
"""Two, so that decode has made a step of its own: the first token can be prefill's."""


@dataclass(frozen=True)
class Proof:
    """Who answered. ``seconds`` is how long it took, ``answers`` how many requests came back.

    ``ready`` is True when every expected worker has answered; where workers cannot be told apart
    (``told_apart`` False), when requests were answered. ``last_error`` is the latest thing that
    went wrong and may be set on a proof that is ready: workers fail while they come up.
    """

    ready: bool
    answered: tuple[Worker, ...]
    missing: tuple[Worker, ...]
    told_apart: bool | None
    seconds: float
    answers: int
    model: str | None = None
    server: str | None = None
    last_error: str | None = None

    def __str__(self) -> str:
        if self.ready and self.told_apart:
            return f"answered by {', '.join(w.name for w in self.answered)}"
        if self.ready:
            return f"{self.answers} requests answered; workers could not be told apart"
        text = f"not ready after {self.seconds:.0f} s"
        if self.missing:
            text += f": no answer from {', '.join(w.name for w in self.missing)}"
        # 502 and 504 are of what stands before the frontend
        if not self.answers and (self.last_error or "HTTP 502").startswith(("HTTP 502", "HTTP 504")):
            text += "; the frontend has not answered anything"
        return f"{text}; last error: {self.last_error}" if self.last_error else text


def prove(
    address: str,
    model: str | None = None,
    *,
    expected_workers: Sequence[Worker] | None = None,
    time_limit: float = 1800.0,
    request_timeout: float = 600.0,
    interval: float = 1.0,
    progress: Callable[[Proof], None] | None = None,
    api_key: str | None = None,
    ca_file: str | None = None,
) -> Proof:
    """Send small requests until every worker has answered one, or ``time_limit`` is over.

    All times in seconds. While the deployment comes up, refusals, empty model lists and error
    answers are tried again every ``interval``. ``expected_workers`` as for ``run``; left out, it
    is whoever is registered at that moment. ``progress`` gets the state after each attempt.
    Raises AddressError. Not for a running event loop: use ``prove_async`` there.
    """
    return run_loop(
        prove_async(
            address,
            model,
            expected_workers=expected_workers,
            time_limit=time_limit,
            request_timeout=request_timeout,
            interval=interval,
            progress=progress,
            api_key=api_key,
            ca_file=ca_file,
        )
    )


async def prove_async(
    address: str,
    model: str | None = None,
    *,
    expected_workers: Sequence[Worker] | None = None,
    time_limit: float = 1800.0,
    request_timeout: float = 600.0,
    interval: float = 1.0,
    progress: Callable[[Proof], None] | None = None,
    api_key: str | None = None,
    ca_file: str | None = None,
) -> Proof:
    """As ``prove``, for a running event loop."""
    base_url = parse_address(address)
    state = _State(expected_workers, time.monotonic())
    async with open_session(api_key, ca_file) as session, Wire(base_url, request_timeout, api_key, ca_file) as wire:

        async def attempts() -> None:
            while True:
                try:
                    target = await look(session, base_url, model)
                except NotServing as error:
                    state.last_error = str(error)
                    if not error.may_come:
                        return
                else:
                    state.take_target(target)
                    await state.attempt(Client(wire, base_url, target.model, target.names_workers))
                proof = state.proof()
                if progress is not None:
                    progress(proof)
                if proof.ready:
                    return
                await asyncio.sleep(interval)

        try:
            await asyncio.wait_for(attempts(), time_limit)
        except asyncio.TimeoutError:
            state.timed_out = True
    return state.proof()


class _State:
    """What is known so far; kept up to date answer by answer, since the limit may cut in."""

    def __init__(self, expected: Sequence[Worker] | None, began: float) -> None:
        self.expected = expected
        self.began = began
        self.coverage = Coverage(Roster(tuple(expected or ())))
        self.target: Target | None = None
        self.answers = 0
        self.wanted = 1
        self.open = 0
        self.last_error: str | None = None
        self.timed_out = False

    def take_target(self, target: Target) -> None:
        self.target = target
        self.coverage.update(make_roster(self.expected, target.instances))

    async def attempt(self, client: Client) -> None:
        """As many requests at once as the larger role has workers, those not met asked for."""
        roles = [w.role for w in self.coverage.roster.expected]
        self.wanted = max((roles.count(r) for r in set(roles)), default=1)
        steers = self.coverage.steer(SIZE, self.wanted, rounds=1)
        await asyncio.gather(*(self._one(client, index, steer) for index, steer in enumerate(steers)))

    async def _one(self, client: Client, index: int, steer: Steer) -> None:
        # Not undone on cancellation: what was open when the limit cut in is worth telling.
        self.open += 1
        answer = await client.send(PROMPT_TOKENS, OUTPUT_TOKENS, index=index, steer=steer)
        self.open -= 1
        if answer.ok:
            self.answers += 1
            self.coverage.met(SIZE, [(answer.prefill_id, answer.decode_id)])
        else:
            self.last_error = answer.error

    def proof(self) -> Proof:
        told = self.coverage.told_apart
        expected = self.coverage.roster.expected
        if told:
            missing = self.coverage.missing(SIZE)
            ready = not missing
        elif told is None:
            missing, ready = expected, False
        else:
            # Nobody can be told to be missing; one answer for each worker is the best there is.
            missing, ready = (), self.answers >= self.wanted
        answered = tuple(w for w in (*expected, *self.coverage.roster.extra) if self.coverage.rounds(SIZE, w))
        error = self.last_error
        if self.timed_out and self.open:
            waiting = f"{self.open} requests still without an answer"
            error = f"{waiting}; {error}" if error else waiting
        return Proof(
            ready=ready,
            answered=answered,
            missing=missing,
            told_apart=told,
            seconds=time.monotonic() - self.began,
            answers=self.answers,
            model=self.target.model if self.target else None,
            server=self.target.kind if self.target else None,
            last_error=error,
        )
