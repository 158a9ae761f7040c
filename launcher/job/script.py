"""The job script as the supervisor reads it: the plan at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher import __version__
from launcher.base.errors import InputError, WorkError
from launcher.config import Source
from launcher.config.load import validate
from launcher.plan.make import kernels_plan, make_plan
from launcher.plan.model import Plan
from launcher.plan.show import embedded

_BEGIN, _END = "<<'END_OF_PLAN'\n", "\nEND_OF_PLAN"


def plan_of_script(path: Path) -> Plan:
    """The plan that the script was made from. Raises WorkError for a script of another version of sgl-launch, whose
    plan would be another one."""
    text = path.read_text(encoding="utf-8")
    begin, end = text.rfind(_BEGIN), text.rfind(_END)
    if begin < 0 or end < begin:
        raise WorkError(f"{path} has no plan at its end: it is not a script of sgl-launch, or was cut")
    try:
        given: dict[str, Any] = json.loads(text[begin + len(_BEGIN) : end])
    except ValueError as e:
        raise WorkError(f"{path}: the plan at its end was changed and can't be read ({e})") from None
    again = (
        f"sgl-launch {__version__} does not make this script's plan any more: "
        "make the script anew with `sgl-launch render`, or set SGL_LAUNCH to the version that made it"
    )
    source = Source(str(path), {})
    try:
        plan = make_plan(validate(given["config"], source), source, given["cluster"])
        if given.get("only_kernels"):
            plan = replace(kernels_plan(plan), config=plan.config)  # its name says so already
    except (InputError, KeyError) as e:
        raise WorkError(f"{again} ({e})") from None
    made = json.loads(json.dumps(embedded(plan)))
    made["config"] = _asked(made["config"], given["config"])
    if other := [key for key in {**given, **made} if _bare(given.get(key)) != _bare(made.get(key))]:
        raise WorkError(f"{again} (its {', '.join(other)} would be another)")
    return plan


def _asked(made: Any, given: Any) -> Any:
    """Without settings that there were not yet when the script was made."""
    if isinstance(made, dict) and isinstance(given, dict):
        return {key: _asked(item, given[key]) for key, item in made.items() if key in given}
    return made


def _bare(value: Any) -> Any:
    """Without what says nothing: null, empty mappings, and options of sbatch, which stand in the script's own lines."""
    if isinstance(value, dict):
        found = {key: _bare(item) for key, item in value.items() if key != "slurm"}
        return {key: item for key, item in found.items() if item not in (None, {})}
    return [_bare(item) for item in value] if isinstance(value, list) else value
