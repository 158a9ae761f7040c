"""The request sweep of a job: sized from its plan, its workers known by name.

It runs in a thread with an event loop of its own: what it measures must not wait for the supervisor's work.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from launcher.job.journal import Journal
from launcher.run.deployment import Deployment, expected_workers
from launcher.run.planned import Planned

if TYPE_CHECKING:
    from warmup.requests import Options, Report, Worker

T = TypeVar("T")


def options_from_plan(plan: Planned) -> Options:
    """The sweep that the config asks for, within the limits of its workers' flags."""
    from warmup.requests import Axes, Limits, Options, Sizing

    config = plan.config
    wish = config["warmup"]["requests"]
    front = config.get("prefill") or config["aggregated"]
    back = config.get("decode")
    limits = Limits.from_args(
        front["args"],
        back["args"] if back else None,
        prefill_workers=front["workers"],
        decode_workers=(back or front)["workers"],
    )
    axes = Axes(
        prompts=tuple(wish.get("prompt_tokens") or ()),
        concurrencies=tuple(wish.get("concurrency") or ()),
        outputs=tuple(wish.get("output_tokens") or ()),
    )
    options = Options(limits=limits, sizing=Sizing(axes=axes), time_limit=wish["timeout"])
    return options if front["workers"] and (back or front)["workers"] else beside_users(options)


def beside_users(options: Options) -> Options:
    """Every prompt length, a request for each rank: users' requests move the times too much to compare them."""
    axes, ranks = replace(options.sizing.axes, concurrencies=()), options.limits.ranks_each
    return replace(options, sizing=replace(options.sizing, axes=axes, max_concurrency=ranks, max_ramp=1, compare=False))


async def sweep_all(deployment: Deployment, limit: float, journal: Journal) -> Report:
    """The whole sweep, at most `limit` seconds of it; its table goes to the job's output."""
    from warmup.requests import run_async
    from warmup.requests.show import Live, show

    async def sweep() -> Report:
        with Live() as live:
            return await run_async(
                deployment.endpoint,
                model=deployment.model,
                options=replace(options_from_plan(deployment.plan), time_limit=limit),
                expected_workers=expected_workers(deployment),
                progress=live,
                api_key=deployment.keys.endpoint,
                ca_file=deployment.ca,
            )

    report = await in_own_loop(sweep)
    text = io.StringIO()
    show(report, text)
    for line in text.getvalue().splitlines():
        journal.say(line)
    return report


async def sweep_one(deployment: Deployment, worker: Worker, limit: float) -> Report:
    """Of one worker that was started again."""
    from warmup.requests import run_async

    options = replace(beside_users(options_from_plan(deployment.plan)), time_limit=limit, probes=0)
    return await in_own_loop(
        lambda: run_async(
            deployment.endpoint,
            model=deployment.model,
            options=options,
            expected_workers=[worker],
            api_key=deployment.keys.endpoint,
            ca_file=deployment.ca,
        )
    )


async def in_own_loop(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine that runs in a thread of its own; cancelled with the one that waits."""
    from warmup.requests.clock import new_loop

    inner = new_loop()
    task: asyncio.Task[T] | None = None

    def body() -> T:
        nonlocal task
        task = inner.create_task(make())
        try:
            return inner.run_until_complete(task)
        except asyncio.CancelledError:
            raise RuntimeError("cancelled") from None
        finally:
            inner.close()

    try:
        return await asyncio.to_thread(body)
    except asyncio.CancelledError:
        inner.call_soon_threadsafe(lambda: task and task.cancel())
        raise
