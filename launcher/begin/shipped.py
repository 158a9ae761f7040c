"""The configs that ship, with the size of each and what it was run on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from launcher.base.files import data_path
from launcher.config.load import load_config
from launcher.plan.make import make_plan

_RUN_ON = "Run on: "


@dataclass(frozen=True)
class Shipped:
    """One of them: `what` is the beginning of its comment, `run_on` its last line; nodes and GPUs (of all nodes) as
    planned; `local` if it is for one machine."""

    name: str
    path: str
    what: str
    run_on: str
    nodes: int
    gpus: int

    def json(self) -> dict[str, object]:
        return asdict(self)


def shipped() -> list[Shipped]:
    """All of them, by name. Raises InputError."""
    return [_read(path) for path in sorted(data_path("configs").glob("*.yaml"))]


def _read(path: Path) -> Shipped:
    text = " ".join(comment(path))
    what, _, run_on = text.partition(_RUN_ON)
    plan = make_plan(*load_config(str(path), sites=()), "slurm")
    gpus = sum(len(rank.gpus) for group in plan.groups for rank in group.ranks)
    first = what.partition(". ")[0].strip().rstrip(".")
    return Shipped(path.stem, str(path), first, run_on.strip().rstrip("."), plan.nodes, gpus)


def comment(path: Path) -> list[str]:
    """The lines of the comment that a config begins with, without their marks."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        found.append(line.lstrip("#").strip())
    return found
