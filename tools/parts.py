"""Run the parts of `make test`, each of them whatever the others do, and print how they went.

    python tools/parts.py              all parts
    python tools/parts.py lint tests   those that are named; `lint` stands for ruff, mypy, imports and sizes

The last line has the form `N passed, N failed, N skipped`: the sum over all tests, with each part that runs no
tests counted as one. Exit status: 0 all passed, 1 a part failed, 2 there is no such part.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent  # of the venv
PYTEST = (str(BIN / "pytest"), "--durations=25")
WORKERS = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")  # in the order of tests/conftest.py


@dataclass(frozen=True)
class Part:
    name: str
    command: tuple[str, ...]
    has_tests: bool = False  # then the command takes --counts FILE (tests/conftest.py)


@dataclass(frozen=True)
class Outcome:
    """How a part went: its exit status, seconds, and numbers of tests by how they ended."""

    name: str
    status: int
    seconds: float
    passed: int
    failed: int
    skipped: int
    retries: int = 0
    retried: tuple[str, ...] = ()  # a line a test

    @property
    def is_good(self) -> bool:
        return self.status == 0 and not self.failed


LINT = (
    Part("ruff", (str(BIN / "ruff"), "check", "launcher", "warmup", "tests", "tools", "benchmarks")),
    Part("mypy", (str(BIN / "mypy"), "launcher", "warmup", "tools/parts.py", "tools/sizes.py", "tools/lock_diff.py")),
    Part("imports", (str(BIN / "lint-imports"), "--no-logo", "--no-cache")),
    Part("sizes", (sys.executable, "tools/sizes.py")),
)
# What starts processes gets a second try on a machine that is busy with something else. The drills have limits in
# seconds, so they run alone.
TESTS = (
    Part("tests", (*PYTEST, *WORKERS, "--reruns", "1", "--ignore", "tests/faults"), has_tests=True),
    Part("drills", (*PYTEST, "--reruns", "2", "tests/faults"), has_tests=True),
)
PARTS = (*LINT, *TESTS)


def chosen(names: Sequence[str]) -> list[Part]:
    """The parts of these names, in the order of PARTS. Raises ValueError for a name that no part has."""
    wanted = {name for word in names for name in ([p.name for p in LINT] if word == "lint" else [word])}
    if unknown := wanted - {part.name for part in PARTS}:
        raise ValueError(f"no such part: {', '.join(sorted(unknown))}; parts: lint, {', '.join(p.name for p in PARTS)}")
    return [part for part in PARTS if not wanted or part.name in wanted]


def run(part: Part) -> Outcome:
    """Run the part here and now; what it prints goes where ours does."""
    print(f"\n=== {part.name}: {' '.join(part.command)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "counts.json")
        command = [*part.command, "--counts", str(counts)] if part.has_tests else part.command
        start = time.monotonic()
        status = subprocess.run(command, cwd=REPO, check=False).returncode
        seconds = time.monotonic() - start
        said: dict[str, Any] = json.loads(counts.read_text()) if counts.exists() else {}
    passed, failed, skipped = (said.get(key, 0) for key in ("passed", "failed", "skipped"))
    if not part.has_tests:
        passed, failed = int(status == 0), int(status != 0)
    elif not failed and (status or not said):  # it ended before, or outside of, its tests
        failed = 1
    retries, retried = said.get("retries", 0), tuple(said.get("retried", ()))
    return Outcome(part.name, status, seconds, passed, failed, skipped, retries, retried)


def report(outcomes: Sequence[Outcome]) -> str:
    """The closing table, what was retried, and the sum."""
    row = "{:10}{:>8}  {:8}{:>7}{:>7}{:>8}{:>8}"
    lines = ["", row.format("part", "seconds", "result", "passed", "failed", "skipped", "retries")]
    for o in outcomes:
        result = "passed" if o.is_good else "FAILED"
        lines.append(row.format(o.name, f"{o.seconds:.1f}", result, o.passed, o.failed, o.skipped, o.retries))
    if retried := [f"  {line}" for o in outcomes for line in o.retried]:
        lines += ["", "retried, and how the first try failed:", *retried]
    sums = (sum(o.passed for o in outcomes), sum(o.failed for o in outcomes), sum(o.skipped for o in outcomes))
    return "\n".join([*lines, "", "{} passed, {} failed, {} skipped".format(*sums)])


def main(names: Sequence[str]) -> int:
    try:
        parts = chosen(names)
    except ValueError as e:
        print(e, file=sys.stderr)
        return 2
    outcomes = [run(part) for part in parts]
    print(report(outcomes), flush=True)
    return int(not all(o.is_good for o in outcomes))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
