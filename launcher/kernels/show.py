"""The stage `kernels` for people: what it will build, where that is kept, and how long it took last time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from launcher.base.counting import counted
from launcher.config import Config
from launcher.kernels.wish import cache_dir, manifest_or_why
from launcher.run.find import look_up
from launcher.run.folder import Event


def seconds_of(events: Iterable[Event]) -> tuple[float, str] | None:
    """How long the stage took in one attempt, and what it said of itself; None if it did not end."""
    began = said = None
    for event in events:
        if event.stage == "kernels" and event.state == "started":
            began = event.time
        elif event.stage == "kernels" and event.state == "prepared":
            said = event.detail
        elif event.stage == "kernels" and event.state == "done" and began is not None:
            return event.time - began, said or ""
    return None


def last_time(name: str, runs: Path, before: str = "") -> tuple[float, str] | None:
    """Of the newest run of that name whose stage ended; of those before the run folder named `before`."""
    folders = [run for run in look_up(runs).runs if run.name == name]
    names = [run.path.name for run in folders]
    if before in names:
        folders = folders[: names.index(before)]
    return next((found for run in reversed(folders[-5:]) if (found := seconds_of(run.events()))), None)


def facts(config: Config) -> dict[str, Any]:
    """As `plan --json` has it. `last` is null where no run of this name is known."""
    if not config.keeps_caches:
        return {"stage": False}
    manifest, why = manifest_or_why(config)
    shapes = manifest.distinct() if manifest else ()
    last = last_time(config.name, Path(config.runs))
    return {
        "stage": True,
        "shapes": len(shapes),
        "pairs": sum(len(s.sweep) * len(s.reserved_sms) for s in shapes),
        "why_none": why,
        "archives": str(cache_dir(config, Path(config.runs))),
        "local": f"{config.warmup.kernels.local_dir}-<uid>",
        "last": {"seconds": round(last[0], 1), "said": last[1]} if last else None,
    }


def lines(config: Config) -> list[str]:
    """As `plan` has it."""
    found = facts(config)
    if not found["stage"]:
        off = "this engine compiles nothing" if config.warmup.kernels.enabled else "warmup.kernels.enabled is false"
        return [f"kernels: no stage ({off})"]
    shapes = f"{counted(found['shapes'], 'shape')} of DeepGEMM, {found['pairs']:,} (shape, M) pairs, built at once"
    last = found["last"]
    return [
        f"kernels: {shapes if found['shapes'] else 'none of DeepGEMM can be built ahead: ' + found['why_none']}",
        f"  kept in {found['archives']}, on each node in {found['local']}",
        f"  last time {last['seconds']:.1f} s: {last['said']}" if last else "  not run yet under this name",
    ]
