"""Secrets: values that a config names and does not hold (`env_from`), and those that it should not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from launcher.base.errors import InputError, Place, Problem
from launcher.config.load import Source, dotted
from launcher.config.schema import Config

_NAME = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|APIKEY|API_KEY|ACCESS_KEY|PRIVATE_KEY|SECRET_KEY)$",
    re.IGNORECASE,
)
# what issuers begin their tokens with: Hugging Face, OpenAI and others, GitHub, GitLab, Slack, AWS, JWT
_VALUE = re.compile(r"(hf_|sk-|gh[pousr]_|github_pat_|glpat-|xox[abpr]-|AKIA|eyJ[A-Za-z0-9_-]+\.|-----BEGIN )\S")
SECRET = "looks like a secret"
_PLAIN = re.compile(r"[/.~$].*|\d{1,9}|true|false|none|", re.IGNORECASE)  # paths, numbers, switches


def secret_warnings(config: Config, source: Source) -> list[Problem]:
    """One for each value in an `env` that looks like a secret. Never shows the value."""
    places: list[tuple[tuple[str, ...], Mapping[str, str]]] = [(("env",), config.env)]
    places += [((name, "env"), role.env) for name, role in config.roles.items()]
    places.append((("frontend", "env"), config.frontend.env))
    found = []
    for keys, env in places:
        for key, value in env.items():
            if (_NAME.search(key) and not _PLAIN.fullmatch(value)) or _VALUE.match(value):
                place = source.place(*keys, key)
                if place.line is None:  # an option: its text has the value
                    place = Place(place.source.partition("=")[0])
                message = (
                    f"{SECRET}: the script, the plan and the run folder would hold it. Take it out "
                    f"and write `env_from: [{key}]`; it is then read from your environment when you submit"
                )
                found.append(Problem(message, place, dotted([*keys, key])))
    return found


def check_env_from(config: Config, environment: Mapping[str, str] = os.environ) -> None:
    """Raises InputError naming each variable of `env_from` that cannot be read here."""
    problems = []
    for name, path in config.env_from.items():
        if path is None and not environment.get(name):
            message = f"{name} is not set in your environment; export it, or write `{name}: file:PATH`"
            problems.append(Problem(message, None, "env_from"))
        elif path is not None and not os.access(Path(path).expanduser(), os.R_OK):
            problems.append(Problem(f"{name}: there is no readable file {path}", None, "env_from"))
    if problems:
        raise InputError(*problems)
