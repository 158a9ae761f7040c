"""What a site decides: placeholders that are still to be set, with what the site has, secrets, and `env_from`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from launcher.base.errors import InputError
from launcher.begin.seen import images, models, partitions
from launcher.check.facts import Facts
from launcher.check.findings import Finding, errors
from launcher.config.placeholders import placeholders
from launcher.config.secrets import check_env_from, secret_warnings


def to_be_set(x: Facts, look: bool) -> Iterator[Finding]:
    """One error for each placeholder: what it asks for, and, after a look, what there is here."""
    for keys, what in placeholders(x.config.model_dump(mode="json", exclude_none=True)):
        if keys == ("container", "image") and _no_container(x):
            continue
        found = [str(one) for one in _there(keys, x)[:4]] if look else []
        where = "your cluster has" if keys[-1] == "partition" else "found here"
        has = f"; {where}: {', '.join(found)}" if found else ""
        yield Finding("error", x.source.problem(f"a placeholder, to be set: {what}{has}", *keys))


def _no_container(x: Facts) -> bool:
    return x.config.container.runtime == "none" and ("container", "runtime") in x.source.places


def _there(keys: tuple[Any, ...], x: Facts) -> list[Any]:
    if keys[-1] == "partition":
        return list(partitions())
    if keys == ("model", "path"):
        return list(models(x.config.model.served_name or ""))
    return list(images()) if keys == ("container", "image") else []


def secrets(x: Facts) -> Iterator[Finding]:
    """Secrets in the config, and those of `env_from` that submit would not find."""
    yield from (Finding("warning", problem) for problem in secret_warnings(x.config, x.source))
    try:
        check_env_from(x.config)
    except InputError as e:
        yield from errors(replace(p, place=x.source.place("env_from")) for p in e.problems)
