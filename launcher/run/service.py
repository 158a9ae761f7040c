"""The first line of `status`: does it serve, with how many of its workers, and how warm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_WARM = {"done": "warm", "not warm": "not steady", "failed": "failed"}
_UP = ("ready", "warm")


def service_line(stage: str, groups: Mapping[str, Sequence[str]], ready: bool, warm: str) -> str:
    """`serving: prefill 1/1, decode 0/1 (restarting); warm-up: not steady`, of a job that runs.

    `groups` are the states of each role's worker groups, `ready` whether there is an endpoint, `warm` how the sweep
    ended.
    """
    parts, down = [], not groups
    for role, states in groups.items():
        up = sum(state in _UP for state in states)
        others = sorted({state for state in states if state not in _UP})
        parts.append(f"{role} {up}/{len(states)}" + (f" ({', '.join(others)})" if others else ""))
        down = down or not up
    word = "stopping" if stage == "stop" else f"starting ({stage})"
    if ready and stage != "stop":
        word = "not serving" if down else "serving"
    sweep = f"; warm-up: {_WARM.get(warm, 'running' if stage == 'warm' else 'none')}" if ready else ""
    return f"{word}{': ' if parts else ''}{', '.join(parts)}{sweep}"
