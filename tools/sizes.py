"""Print how many lines each part of the project has, against its limit. Exit status: 1 when a part is over its limit.

All lines of a file count, comments and empty ones too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent

CORE = (
    *("base", "config", "engines", "containers", "plan", "executors", "run", "job", "commands"),
    *("cli.py", "entry.py", "render.py"),
)
CORE_LIMIT = 7_500
TEMPLATES_LIMIT = 400  # of what a job runs; not those of preflight
FILE_LIMIT = 400  # of each Python file of launcher/ and warmup/

# Parts that are over their limit today, and how far they may be. Remove the entry once the part is within its limit.
NOT_YET = {"core": 12_100}


@dataclass(frozen=True)
class Row:
    part: str
    lines: int
    limit: int | None = None

    @property
    def is_over(self) -> bool:
        return self.limit is not None and self.lines > NOT_YET.get(self.part, self.limit)

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"{self.limit:7,}"
        remark = ""
        if self.is_over:
            remark = "  OVER"
        elif self.limit is not None and self.lines > self.limit:
            remark = f"  over; {NOT_YET[self.part]:,} are allowed for now"
        return f"{self.part:44}{self.lines:7,}{limit}{remark}".rstrip()


def rows(repo: Path) -> list[Row]:
    launcher, warmup = repo / "launcher", repo / "warmup"
    outer = sorted(p.name for p in launcher.iterdir() if (p / "__init__.py").is_file() and p.name not in CORE)
    found = [Row(f"launcher/{name}", _lines(_python(launcher / name))) for name in (*CORE, *outer)]
    found += [Row("warmup", _lines(_python(warmup)))]
    found += [Row("core", _lines(_python(*(launcher / name for name in CORE))), CORE_LIMIT)]
    templates = [f for f in (repo / "templates").rglob("*") if f.is_file() and not f.name.startswith("preflight")]
    found += [Row("templates of a job", _lines(templates), TEMPLATES_LIMIT)]
    files = sorted(_python(launcher, warmup), key=lambda file: _lines([file]), reverse=True)
    longest = [files[0], *(f for f in files[1:] if _lines([f]) > FILE_LIMIT)]
    return found + [Row(str(f.relative_to(repo)), _lines([f]), FILE_LIMIT) for f in longest]


def _lines(files: Iterable[Path]) -> int:
    return sum(len(file.read_bytes().splitlines()) for file in files)


def _python(*paths: Path) -> list[Path]:
    return [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))]


def main() -> int:
    print(f"{'part':44}{'lines':>7}{'limit':>7}")
    found = rows(REPO)
    print(*found, sep="\n")
    return int(any(row.is_over for row in found))


if __name__ == "__main__":
    sys.exit(main())
