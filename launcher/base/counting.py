"""How many of something, for people."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """`1 node`, `2 nodes`; `many` where an s does not make it."""
    return f"{number} {one if number == 1 else many or one + 's'}"
