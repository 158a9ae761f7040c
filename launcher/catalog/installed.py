"""The flags of an SGLang that is installed here, told by its own Python."""

from __future__ import annotations

import json
from pathlib import Path

from launcher.catalog.catalog import Catalog
from launcher.catalog.releases import CatalogError

EXTRACT = Path(__file__).parent / "extract.py"

# Seconds: importing SGLang takes 5 to 10 s, and over a minute from a cold network file system.
INSTALLED_TIMEOUT = 300.0


def installed_catalog(python: str, timeout: float = INSTALLED_TIMEOUT) -> Catalog:
    """The flags of the SGLang that the interpreter `python` imports.

    `python` is a path or a name on PATH; `timeout` is in seconds. Raises CatalogError, with the
    end of what that interpreter said, if it has no SGLang or can't be run.
    """
    import subprocess  # half as slow to import as all the rest of this module

    try:
        done = subprocess.run(
            [python, str(EXTRACT)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise CatalogError(f"{python} can't be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise CatalogError(f"{python} took more than {timeout:g} s to import SGLang") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1].strip() if lines else f"exit status {done.returncode}"
        raise CatalogError(f"{python} can't tell SGLang's flags: {last}")
    try:
        data = json.loads(done.stdout)
    except ValueError as error:
        raise CatalogError(f"{python} printed something else than SGLang's flags") from error
    return Catalog.from_json(data, source=python)
