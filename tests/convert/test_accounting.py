"""No silent loss: every key of a source is in the config, or listed with the reason why not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from launcher.base.errors import InputError
from launcher.config.yamlpos import KeyPath
from launcher.convert import Converted
from launcher.convert.reader import read
from launcher.convert.tree import comments

from .helpers import config_of, convert, every_recipe, plan_of
from .samples import OWN

RECIPES = every_recipe()
IDS = [f"{n}:{v}" if v else n for n, _, v in RECIPES]


def leaf_paths(data: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from leaf_paths(value, (*path, key))
    else:
        yield path


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value * 2 + 1
    if isinstance(value, list):
        return [changed(v) for v in value] or ["x"]
    return f"{value}x" if isinstance(value, str) else "x"


def with_value(data: Any, path: KeyPath, value: Any) -> Any:
    out = copy.deepcopy(data)
    inner = out
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return out


def dump(data: Any) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def seen(converted: Converted) -> Any:
    """What of a source shows in a conversion: in the config, or in what is listed."""
    said = {(n.kind, n.key, n.message, str(n.value)) for n in converted.notes}
    return config_of(converted), said


@pytest.mark.parametrize(("name", "text", "variant"), RECIPES, ids=IDS)
def test_every_key_is_converted_or_listed(name: str, text: str, variant: str | None) -> None:
    if name not in OWN and variant not in (None, "base"):
        pytest.skip("one recipe of a long file is enough")
    data = yaml.safe_load(text)
    whole = convert(dump(data), variant, name)
    listed = [n.path for n in whole.notes if n.kind == "dropped"]
    before = seen(whole)
    keys = list(leaf_paths(data))
    if name not in OWN:  # their keys are those of our own samples: some are enough
        keys = keys[:: len(keys) // 12]
    for path in keys:
        if any(path[: len(p)] == p for p in listed):
            continue
        value = data
        for key in path:
            value = value[key]
        try:
            after = seen(convert(dump(with_value(data, path, changed(value))), variant, name))
        except InputError:
            continue  # so it is looked at
        assert after != before or replaced(data, path, variant), f"{path} is lost"


def replaced(data: Any, path: KeyPath, variant: str | None) -> bool:
    """Whether the variant has its own value for this key of the base."""
    if not variant or path[0] != "base":
        return False
    inner = data[variant.split("[")[0]]
    for key in path[1:]:
        if not isinstance(inner, dict) or key not in inner:
            return False
        inner = inner[key]
    return True


@pytest.mark.parametrize(("name", "text", "variant"), RECIPES, ids=IDS)
def test_every_comment_is_somewhere(name: str, text: str, variant: str | None) -> None:
    root, _ = read(text, name)
    converted = convert(text, variant, name).text
    mine = {"base", variant.split("[")[0]} if variant else None
    overridden = set()
    if variant and variant != "base":  # comments of values that the variant replaces go with them
        overridden = {c for c, p in comments(root) if p[0] == "base"}
    for comment, path in comments(root):
        if (mine and path[0] not in mine) or comment in overridden:
            continue
        words = comment.text.lstrip("#").strip().split(":")[-1].strip()
        assert words in converted, f"{comment.text} of {path}"


@pytest.mark.parametrize(("name", "text", "variant"), RECIPES, ids=IDS)
def test_every_sample_can_be_planned(name: str, text: str, variant: str | None) -> None:
    converted = convert(text, variant, name)
    assert converted.problems == ()
    assert plan_of(converted).nodes >= 1
    assert not [n for n in converted.notes if "the source means" in n.message]
