"""Every flag of the config, judged by the catalogue of the program that gets it, at the version that it will have."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from launcher.base.errors import InputError
from launcher.catalog import pairs
from launcher.catalog.catalog import Catalog, load
from launcher.catalog.flags import Problem
from launcher.catalog.given import dashed
from launcher.catalog.releases import (
    FRONTEND,
    MOCKER,
    SGLANG,
    SGLANG_ROUTER,
    SMG,
    WORKER,
    CatalogError,
    Program,
    order,
)  # fmt: skip
from launcher.check.findings import Finding, Level
from launcher.check.image import known
from launcher.config import Config, Source

# what a neighbour of a version without a catalogue knows as well
_CERTAIN = ("twice", "count", "type")


@dataclass(frozen=True)
class Judge:
    """The catalogues that a version is judged by: its own, or those of the releases around it, the nearest first."""

    catalogs: tuple[Catalog, ...]
    wanted: str = ""  # the version, where it has no catalogue of its own

    @property
    def catalog(self) -> Catalog:
        return self.catalogs[0]

    def check(self, args: Mapping[str, Any]) -> Iterator[tuple[Level, Problem]]:
        """What there is to say. Without a catalogue of the version, an error is what both neighbours call one."""
        others = [{p.flag for p in c.check(args) if p.is_error} for c in self.catalogs[1:]]
        for problem in self.catalog.check(args):
            sure = not self.wanted or problem.kind in _CERTAIN or (others and all(problem.flag in o for o in others))
            yield "error" if problem.is_error and sure else "warning", problem


class Given(NamedTuple):
    """The versions that a config is checked for, as far as it or its image says them."""

    sglang: str
    dynamo: str


def given_versions(config: Config) -> Given:
    """What the config says, else what its image was found to hold, else what the image's name says, else what goes with
    the other of the two."""
    image = known(config) or pairs.of_image(config.container.image or "")
    sglang, dynamo = config.sglang_version or image.sglang, config.dynamo_version or image.dynamo
    if not dynamo and config.engine == "mocker" and not config.python:
        try:
            dynamo = importlib.metadata.version("ai-dynamo")
        except importlib.metadata.PackageNotFoundError:
            dynamo = ""
    return Given(sglang or pairs.sglang_of(dynamo), dynamo or pairs.dynamo_of(sglang))


def judge(program: Program, version: str) -> Judge:
    """By the version's own catalogue; a version of two numbers is the last release of that series. Where nobody says
    the version it is the newest, and for Dynamo's programs an error is what every version calls one.

    Raises CatalogError for a text that is no version.
    """
    known = program.versions()
    if not version and program in (WORKER, FRONTEND, MOCKER):
        return Judge(tuple(load(v, program) for v in reversed(known)), "any")
    if version.count(".") == 1:
        version = next((v for v in reversed(known) if order(v)[:2] == order(version)[:2]), version)
    around = program.neighbours(version or known[-1])
    near = program.nearest(version or known[-1])
    found = (load(near, program), *(load(v, program) for v in around if v != near))
    return Judge(found, "" if version in ("", near) else version)


def sglang_judge(config: Config, source: Source, version: str | None) -> tuple[Judge, list[Finding]]:
    """SGLang's, at the version that was asked for or that the config is for."""
    wanted = version or given_versions(config).sglang
    try:
        found = judge(SGLANG, wanted)
    except CatalogError as e:
        if version:
            raise InputError(f"--sglang: {e}") from None
        return judge(SGLANG, ""), [Finding("error", source.problem(f"{e}", "sglang_version"))]
    if not found.wanted:
        return found, []
    others = " and ".join(c.version for c in sorted(found.catalogs, key=lambda c: c.place))
    message = f"no catalogue of SGLang {wanted}'s flags is shipped; they were checked against {others}"
    return found, [Finding("warning", source.problem(message, "sglang_version"))]


def version_findings(config: Config, source: Source) -> Iterator[Finding]:
    """Where what the config says differs from what its image holds or its name says, or from what goes together."""
    held, named = known(config), pairs.of_image(config.container.image or "")
    shown = f"the image holds {{}} (asked on {held.asked})" if held else "the image's name says {}"
    told = held or named._replace(sglang="" if named.dynamo else named.sglang)
    for key, said, there in (
        ("sglang_version", config.sglang_version, told.sglang),
        ("dynamo_version", config.dynamo_version, told.dynamo),
    ):
        if said and there and said.removeprefix("v") != there:
            message = f"is {said}, but {shown.format(there)} ({config.container.image})"
            yield Finding("warning", source.problem(message, key))
    if config.engine != "dynamo":
        return
    sglang, dynamo = config.sglang_version or told.sglang, config.dynamo_version or told.dynamo
    made_for = pairs.sglang_of(dynamo)
    where = ("dynamo_version",) if config.dynamo_version else ("container", "image")
    if sglang and made_for and order(made_for)[:3] != order(sglang)[:3]:
        other = pairs.dynamo_of(sglang)
        better = f"; Dynamo {other} goes with that" if other and pairs.sglang_of(other) == sglang else ""
        message = f"Dynamo {dynamo} is made for SGLang {made_for}, not {sglang}{better}"
        yield Finding("warning", source.problem(message, *where))
    nixl = pairs.nixl_of(dynamo)
    if held and held.nixl and nixl and order(nixl)[:2] != order(held.nixl)[:2]:
        message = f"Dynamo {dynamo} goes with NIXL {nixl}; the image holds {held.nixl}"
        yield Finding("warning", source.problem(message, "container", "image"))


def flag_findings(config: Config, source: Source, sglang: Judge) -> Iterator[Finding]:
    """The flags of each role, of the frontend and of the mocker."""
    if config.engine == "dynamo-serve":
        return  # SGLang 0.4 and older: no catalogue is near
    with_dynamo = config.engine in ("dynamo", "mocker")
    version = given_versions(config).dynamo if with_dynamo else ""
    try:
        worker, frontend, mocker = (judge(p, version) for p in (WORKER, FRONTEND, MOCKER))
    except CatalogError as e:
        yield Finding("error", source.problem(str(e), "dynamo_version"))
        worker, frontend, mocker = (judge(p, "") for p in (WORKER, FRONTEND, MOCKER))
    for role_name, role in config.roles.items():
        dynamos = [n for n in role.args if with_dynamo and _dynamos(n, worker, sglang.catalog)]
        own = {k: role.args[k] for k in dynamos}
        rest = {k: v for k, v in role.args.items() if k not in own}
        for level, problem in (*sglang.check(rest), *worker.check(own)):
            text = problem.text
            if problem.kind == "unknown" and with_dynamo:
                near = worker.catalog.nearest(dashed(problem.flag))
                its = sglang.catalog.nearest(problem.flag)
                if near and _likeness(problem.flag, near) > _likeness(problem.flag, its):
                    both = f"{sglang.catalog.title} nor {worker.catalog.title}"
                    text = f"Neither {both} has such a flag. Did you mean {near[0]}?"
            yield Finding(level, source.problem(text, role_name, "args", problem.flag))
    if with_dynamo:
        yield from _frontend(config, source, frontend, "router-mode", config.frontend.router_mode)
    elif config.engine == "sglang":
        router = judge(SMG if config.frontend.router == "smg" else SGLANG_ROUTER, "")
        mode = (config.frontend.router_mode or "").replace("-", "_")
        yield from _frontend(config, source, router, "policy", mode)
    if config.engine == "mocker":
        for level, problem in mocker.check(config.mocker):
            yield Finding(level, source.problem(problem.text, "mocker", problem.flag))


def _dynamos(name: str, worker: Judge, sglang: Catalog) -> bool:
    """Whether a worker's flag is Dynamo's: of its version, or of another one where SGLang has no such flag."""
    return name in worker.catalog or (bool(WORKER.history(dashed(name))) and name not in sglang)


def _frontend(config: Config, source: Source, by: Judge, mode: str, value: str | None) -> Iterator[Finding]:
    for level, problem in by.check(config.frontend.args):
        yield Finding(level, source.problem(problem.text, "frontend", "args", problem.flag))
    if value:
        for level, problem in by.check({mode: value}):
            yield Finding(level, source.problem(problem.text, "frontend", "router_mode"))


def _likeness(name: str, near: Sequence[str]) -> float:
    import difflib

    return difflib.SequenceMatcher(None, dashed(name), near[0]).ratio() if near else 0.0
