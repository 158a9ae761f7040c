"""What the tests ask of a conversion."""

from __future__ import annotations

from typing import Any

from launcher.config.load import Source, validate
from launcher.config.yamlpos import parse
from launcher.convert import Converted, convert_text, selectors
from launcher.plan.make import make_plan
from launcher.plan.model import Plan

from .samples import all_texts


def convert(text: str, variant: str | None = None, name: str = "source.yaml", **kw: Any) -> Converted:
    return convert_text(text, name, variant, **{"sglang": "0.5.16", **kw})


def config_of(converted: Converted) -> dict[str, Any]:
    """The config's data, as the launcher reads it."""
    data, _ = parse(converted.text, "converted")
    assert isinstance(data, dict)
    return data


def plan_of(converted: Converted) -> Plan:
    source = Source("converted", {})
    return make_plan(validate(config_of(converted), source), source)


def notes(converted: Converted, kind: str) -> dict[str, str]:
    """Key -> message of the notes of one kind."""
    return {n.key: n.message for n in converted.notes if n.kind == kind}


def every_recipe() -> list[tuple[str, str, str | None]]:
    """(name, text, variant) of each sample; a file of several recipes is there once for each."""
    found: list[tuple[str, str, str | None]] = []
    for name, text in all_texts().items():
        found += [(name, text, v) for v in (selectors(text, name) or [None])]
    return found
