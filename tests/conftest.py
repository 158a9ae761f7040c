"""Options of every test folder, the order of the folders, and the list of what was retried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Two workers share the files: the long ones go first, so that neither has one left when the other is done.
SLOW_FIRST = ("slurm", "wheel", "local", "shapes", "see", "requests", "kernels")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write tests/golden anew instead of comparing.")
    parser.addoption("--all-drills", action="store_true", help="Run every drill of tests/faults, not a dozen.")
    parser.addoption("--counts", metavar="FILE", help="Write the numbers of tests as JSON, for tools/parts.py.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        return SLOW_FIRST.index(folder) if folder in SLOW_FIRST else len(SLOW_FIRST)

    items.sort(key=place)  # stable: within a folder nothing changes


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    stats = terminalreporter.stats
    reruns = stats.get("rerun", [])
    retried = _retried(reruns)
    if retried:
        terminalreporter.section("retried, and how the first try failed")
        for line in retried:
            terminalreporter.write_line(line)
    if file := terminalreporter.config.getoption("--counts"):
        counts = {
            "passed": len(stats.get("passed", [])),
            "failed": len(stats.get("failed", [])) + len(stats.get("error", [])),
            "skipped": len(stats.get("skipped", [])),
            "retries": len(reruns),
            "retried": retried,
        }
        Path(file).write_text(json.dumps(counts))


def _retried(reruns: list[pytest.TestReport]) -> list[str]:
    """A line for each test that was retried: its name, and what its first failure said."""
    first: dict[str, pytest.TestReport] = {}
    for report in reruns:
        first.setdefault(report.nodeid, report)
    return [f"{name}: {_message(report)}" for name, report in first.items()]


def _message(report: pytest.TestReport) -> str:
    """The failure's message on one line; of a failure that has none, the last line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = [line.strip() for line in (crash.message if crash else report.longreprtext).splitlines() if line.strip()]
    return " | ".join(lines if crash else lines[-1:])[:300]
