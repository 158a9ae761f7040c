"""The request sweep of a job: sized from its plan, its workers known by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.run.deployment import Deployment, expected_workers
from launcher.run.planned import Planned

if TYPE_CHECKING:
    from warmup.requests import Options, Progress, Report


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
    return Options(limits=limits, sizing=Sizing(axes=axes), time_limit=wish["timeout"])


def warm_up(deployment: Deployment, progress: Progress | None = None) -> Report:
    """Run the sweep. Whatever happens ends in the report's verdict."""
    from warmup.requests import run

    return run(
        deployment.endpoint,
        model=deployment.model,
        options=options_from_plan(deployment.plan),
        expected_workers=expected_workers(deployment),
        progress=progress,
    )
