"""What `check` says: errors, which stop a deployment, and warnings, which may be meant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from launcher.base.errors import Problem

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One problem, and whether it stops the deployment."""

    level: Level
    problem: Problem

    def __str__(self) -> str:
        where = f"{self.problem.place}: " if self.problem.place else ""
        key = f"{self.problem.key}: " if self.problem.key else ""
        return f"{where}{self.level}: {key}{self.problem.message}"

    def json(self) -> dict[str, Any]:
        place = self.problem.place
        return {
            "level": self.level,
            "key": self.problem.key,
            "message": self.problem.message,
            "source": place.source if place else None,
            "line": place.line if place else None,
            "column": place.column if place else None,
        }


def errors(problems: Iterable[Problem]) -> list[Finding]:
    return [Finding("error", p) for p in problems]


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Without doubles: one error a place and key is enough, and it hides its warnings. By file
    and line, as one would mend them."""
    kept: dict[tuple[object, str], list[Finding]] = {}
    for found in findings:
        here = kept.setdefault((found.problem.place, found.problem.key), [])
        if found.problem.key and any(f.level == "error" for f in here):
            continue
        if all(f.problem.message != found.problem.message for f in here):
            here.append(found)

    def place(found: Finding) -> tuple[str, int, int]:
        at = found.problem.place
        return (at.source, at.line or 0, at.column or 0) if at else ("", 0, 0)

    return sorted((f for group in kept.values() for f in group), key=place)
