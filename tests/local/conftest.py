"""Fixtures of the tests of real deployments on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .run import Launcher


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """sgl-launch in an empty folder. A process that is left after the test is a failure."""
    made = Launcher(tmp_path)
    yield made
    left = made.kill_all()
    if left:
        lines = "\n  ".join(str(process) for process in left)
        pytest.fail(f"left after the test:\n  {lines}", pytrace=False)
