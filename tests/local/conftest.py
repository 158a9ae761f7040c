"""Fixtures of the tests of real deployments on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .run import Launcher


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """sgl-launch in an empty folder. A process or scratch folder that is left after the test is a
    failure."""
    made = Launcher(tmp_path)
    yield made
    left = [str(process) for process in made.kill_all()]
    left += [str(path) for path in made.scratch.glob("sgl-launch*")]
    if left:
        pytest.fail("\n  ".join(["left after the test:", *left]), pytrace=False)
