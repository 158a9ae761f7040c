"""A service's configs: the one that serves, and the one before it."""

from __future__ import annotations

from pathlib import Path

import yaml

from launcher.run.find import look_up
from launcher.run.folder import RunFolder
from launcher.run.history import History
from launcher.service.links import warm_event


def config_of(run: RunFolder) -> object:
    """What a link was submitted with, without what concerns the chain and the folder of runs."""
    try:
        found = yaml.safe_load((run.path / "effective.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    if not isinstance(found, dict):
        return None
    return {key: value for key, value in found.items() if key not in ("service", "runs")}


def former(name: str, runs: Path, now: RunFolder) -> RunFolder | None:
    """The newest link that became warm and has another config than `now`."""
    own, number = config_of(now), int(now.job_id)
    older = [run for run in look_up(runs).runs if run.name == name and run.of_service and int(run.job_id) < number]
    others = (run for run in reversed(older) if config_of(run) not in (own, None))
    return next((run for run in others if warm_event(run, History.read(run, begun=True))), None)
