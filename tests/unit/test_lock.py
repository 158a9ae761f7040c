"""requirements.lock has all that pyproject.toml asks for, each with its hash."""

from __future__ import annotations

import re
from importlib.metadata import requires

from packaging.requirements import Requirement

from tools.lock_diff import LOCK, locked


def test_the_lock_fits_the_project() -> None:
    lock = locked(LOCK.read_text())
    wanted = [Requirement(line) for line in requires("sgl-launch") or ()]
    wanted = [r for r in wanted if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in ("local", "test"))]
    assert len(wanted) > 20
    lacking = [str(r) for r in wanted if r.name.lower() not in lock or lock[r.name.lower()] not in r.specifier]
    assert not lacking, "run `make lock`"


def test_every_package_has_one_version_and_hashes() -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", LOCK.read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==[^ ]+ ", entry), entry.splitlines()[0]
        assert re.search(r"^    --hash=sha256:[0-9a-f]{64}", entry, re.MULTILINE), entry.splitlines()[0]
