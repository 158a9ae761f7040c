"""Nearest valid names for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str], label: str = "did you mean") -> str:
    """` (did you mean x?)`, or an empty text when nothing is near."""
    near = difflib.get_close_matches(name, list(valid), n=3, cutoff=0.6)
    score = {n: difflib.SequenceMatcher(None, n, name).ratio() for n in near}
    # only what is about as near as the nearest: `prefil` is prefill, and hardly preflight
    found = [n for n in near if score[n] > score[near[0]] - 0.1]
    if not found:
        return ""
    return f"; {label} {' or '.join(repr(f) for f in found)}?"
