"""`make test`: every part runs, none is forgotten in the sum, and a retry is told with its reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import parts
from tools.parts import PYTEST, Outcome, Part, chosen, report, run


def python(name: str, code: str, *, has_tests: bool = False) -> Part:
    return Part(name, (sys.executable, "-c", code), has_tests)


def test_all_parts_run_whatever_failed_before(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bad, good = python("bad", "print('one'); exit(3)"), python("good", "print('two')")
    monkeypatch.setattr(parts, "PARTS", (bad, good))
    assert parts.main([]) == 1
    said = capfd.readouterr().out
    assert said.index("one") < said.index("two")
    assert said.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"
    assert parts.main(["good"]) == 0


def test_a_part_of_tests_that_says_nothing_has_failed() -> None:
    for code in ("exit(0)", "import os; os.kill(os.getpid(), 9)"):
        outcome = run(python("tests", code, has_tests=True))
        assert not outcome.is_good
        assert outcome.failed == 1


def test_counts_and_retries_of_pytest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conftest.py").write_text((parts.REPO / "tests" / "conftest.py").read_text())
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "tries = []\n"
        "def test_late():\n    tries.append(1)\n    assert len(tries) > 1, 'ready after 31 s, and 30 are allowed'\n"
        "def test_good(): pass\n"
        "def test_bad(): raise ValueError('always')\n"
        "def test_skipped(): pytest.skip('not here')\n"
        "@pytest.fixture\ndef broken(): raise OSError('no disk')\n"
        "def test_error(broken): pass\n"
    )
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    part = Part("tests", (*PYTEST, "-p", "no:cacheprovider", "--reruns", "1", str(tmp_path)), has_tests=True)
    outcome = run(part)
    assert (outcome.status, outcome.passed, outcome.failed, outcome.skipped) == (1, 2, 2, 1)
    assert outcome.retries == 3
    assert len(outcome.retried) == 3
    assert "test_late: AssertionError: ready after 31 s, and 30 are allowed | assert 1 > 1" in outcome.retried[0]
    assert outcome.retried[1].endswith("test_bad: ValueError: always")
    assert outcome.retried[2].endswith("test_error: OSError: no disk")


def test_the_closing_table() -> None:
    said = report(
        [Outcome("ruff", 0, 0.5, 1, 0, 0), Outcome("tests", 1, 310.04, 800, 2, 9, 1, ("test_x: ready after 31 s",))]
    )
    assert said == (
        "\n"
        "part       seconds  result   passed failed skipped retries\n"
        "ruff           0.5  passed        1      0       0       0\n"
        "tests        310.0  FAILED      800      2       9       1\n"
        "\n"
        "retried, and how the first try failed:\n"
        "  test_x: ready after 31 s\n"
        "\n"
        "801 passed, 2 failed, 9 skipped"
    )


def test_parts_by_name() -> None:
    assert [p.name for p in chosen(["tests", "lint"])] == ["ruff", "mypy", "imports", "sizes", "tests"]
    assert len(chosen([])) == 6
    with pytest.raises(ValueError, match=r"no such part: drill; parts: lint, ruff, .*drills"):
        chosen(["drill"])
