"""Print in which packages the environment of this Python differs from requirements.lock, as `name: locked -> here`."""

from __future__ import annotations

import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
# what a venv has of its own, and the project itself
NOT_LOCKED = {"pip", "setuptools", "sgl-launch"}


def locked(text: str) -> dict[str, str]:
    """Each package's version of the lines that hold for this Python and machine."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.rstrip("\\ "))
            if requirement.marker is None or requirement.marker.evaluate():
                (version,) = requirement.specifier
                found[canonicalize_name(requirement.name)] = version.version
    return found


def main() -> int:
    lock = locked(LOCK.read_text())
    here: dict[str, str] = {canonicalize_name(d.name): d.version for d in distributions()}
    packages = sorted(lock.keys() | here.keys() - NOT_LOCKED)
    changes = [
        f"{name}: {lock.get(name, 'not locked')} -> {here.get(name, 'not needed')}"
        for name in packages
        if lock.get(name) != here.get(name)
    ]
    print(f"differs from {LOCK.name} in {len(changes)} of {len(packages)} packages", *changes, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
