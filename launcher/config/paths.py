"""Paths in a config: `~`, `$HOME` and `$USER` are expanded, other shell text is refused, since no shell reads it."""

from __future__ import annotations

import os
import pwd
import re

_SHELL = re.compile(r"\$\{(\w+)\}|\$(\w+)|[$]\(|`|\$\{")
KNOWN = "~, $HOME and $USER"


def user() -> str:
    """The user's name, from the environment or the system."""
    try:
        return os.environ.get("USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def expanded(text: str) -> str:
    """A path with the user's home and name put in. Raises ValueError for other shell text."""
    values = {"HOME": os.path.expanduser("~"), "USER": user()}

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in values:
            raise ValueError(f"{found[0]!r} is not expanded here (only {KNOWN} are); write the full path")
        return values[name]

    out = _SHELL.sub(value, text)
    if out == "~" or out.startswith("~/"):
        return values["HOME"] + out[1:]
    if re.match(r"~[\w.-]*(/|$)", out):
        raise ValueError(f"{out.partition('/')[0]} is not expanded here (only {KNOWN} are); write the full path")
    return out


def shell_text(value: str) -> str:
    """What in a text a shell would replace, and nothing here does; empty if there is none."""
    if value == "~" or value.startswith("~/"):
        return "~"
    found = _SHELL.search(value)
    return found[0] + (")" if found[0] == "$(" else "") if found else ""
