"""All checks of a config, one after another: no mistake hides another one."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from launcher.base.errors import InputError
from launcher.catalog.catalog import Catalog
from launcher.catalog.releases import versions
from launcher.check import cross, place, site
from launcher.check.facts import Facts
from launcher.check.findings import Finding, errors, in_order
from launcher.check.flags import Judge, flag_findings, given_versions, sglang_judge, version_findings
from launcher.check.image import ask
from launcher.check.model import read_model
from launcher.check.slurm import share_note, test_only
from launcher.config import Config, Source
from launcher.config.fields import AT_KEYS
from launcher.config.load import merged_layers, problems_of, resolve
from launcher.plan.make import make_plan
from launcher.plan.model import Cluster, Plan


@dataclass(frozen=True)
class Checked:
    """What was found, by file and line, and what could not be checked, as notes."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    catalog: str
    plan: Plan | None

    @property
    def errors(self) -> int:
        return sum(f.level == "error" for f in self.findings)

    @property
    def warnings(self) -> int:
        return len(self.findings) - self.errors


def check_config(
    name: str,
    sets: Sequence[str] = (),
    cluster: Cluster = "slurm",
    catalog: Catalog | None = None,
    version: str | None = None,
    ask_slurm: bool = True,
    look: bool = True,
    ask_image: bool = False,
) -> Checked:
    """Check a config against `catalog`, or that of SGLang `version`, or that of its sglang_version. `look`: say what
    there is here for what is to be set, which may take some seconds. `ask_image`: run the container's image, once.

    Raises InputError only for what leaves nothing to check: no such file, text that is not YAML, an image that does
    not run.
    """
    data, source = merged_layers(name, sets)
    config, found = tolerant(data, source)
    notes: list[str] = []
    if config is None:
        return Checked(tuple(in_order(found)), ("fix these first; the rest is checked afterwards",), "", None)
    try:
        config = resolve(config, source)
    except InputError as e:
        found += errors(e.problems)
    if ask_image:
        held = ask(config)
        notes.append(f"{held.image} holds {held}; kept under {held.digest[:26]}")
    judge = Judge((catalog,)) if catalog else None
    if judge is None:
        judge, said = sglang_judge(config, source, version)
        found += [*said, *version_findings(config, source)]
    catalog = judge.catalog
    plan = None
    try:
        plan = make_plan(config, source, cluster)
    except InputError as e:
        found += errors(e.problems)
    flags = list(flag_findings(config, source, judge))
    if flags and catalog.title == f"SGLang {versions()[-1]}" and not version and not given_versions(config).sglang:
        notes.append(f"{catalog.title} is the newest known version; if yours differs, set `sglang_version`")
    found += flags
    facts = Facts(config, source, catalog, read_model(config), cluster, plan)
    every = (*cross.CHECKS, *place.CHECKS, site.secrets)
    found += [one for check in every for one in check(facts)]
    found += site.to_be_set(facts, look)
    mistakes = any(f.level == "error" for f in found)
    if plan is not None and cluster == "slurm" and ask_slurm:
        if mistakes:
            notes.append("fix these first; Slurm is asked afterwards")
        else:
            from launcher.render import render

            said, note = test_only(render(plan), config, source)
            found += said
            notes += [text for text in (note, share_note(config)) if text]
    return Checked(tuple(in_order(found)), tuple(notes), catalog.title, plan)


def tolerant(data: Mapping[str, Any], source: Source) -> tuple[Config | None, list[Finding]]:
    """The config as far as it is right, and what is wrong: keys with mistakes are left out, so that
    the rest can be checked. None where too much is missing."""
    left: dict[str, Any] = copy.deepcopy(dict(data))
    found: list[Finding] = []
    for _ in range(4):
        try:
            return Config.model_validate(left), found
        except ValidationError as e:
            found += errors(problems_of(e, source))
            for item in e.errors():
                if item["type"] == "missing":
                    _put(left, item["loc"], {"path": "missing"} if item["loc"] == ("model",) else "missing")
                elif item["type"] == AT_KEYS:
                    for key, _message in item["ctx"]["found"]:
                        _drop(left, (*item["loc"], key))
                else:
                    _drop(left, item["loc"])
    return None, found


def _drop(data: Any, path: Sequence[int | str]) -> None:
    """Remove what is at the path, or the nearest part of it that is there."""
    for key in path[:-1]:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return  # a branch of a union, or gone with its parent
    if isinstance(data, dict):
        data.pop(path[-1], None)
    elif isinstance(data, list) and isinstance(path[-1], int) and path[-1] < len(data):
        data[path[-1]] = "missing"


def _put(data: Any, path: Sequence[int | str], value: object) -> None:
    for key in path[:-1]:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict):
        data[path[-1]] = value
