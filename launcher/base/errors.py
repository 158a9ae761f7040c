"""The one error that users see: what is wrong, where, and what to do."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A position in an input file: 1-based line and column, or a command-line option."""

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        if self.line is None:
            return self.source
        return f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One mistake in the input: where, which key, what is wrong and what to do about it."""

    message: str
    place: Place | None = None
    key: str = ""

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        key = f"{self.key}: " if self.key else ""
        return f"{where}{key}{self.message}"


class InputError(Exception):
    """The input is wrong (exit status 2). Carries every problem that was found."""

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(Problem(p) if isinstance(p, str) else p for p in problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class WorkError(Exception):
    """The input was right but the work failed (exit status 1)."""


def reason(error: BaseException) -> str:
    """Why something failed, in a sentence, whatever was raised."""
    if isinstance(error, (WorkError, InputError)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'system'}: {error.strerror}"
    if isinstance(error, ImportError):
        return _import_error(error)
    return f"a mistake in sgl-launch ({type(error).__name__}: {error}); please report it"


def _import_error(error: ImportError) -> str:
    """What to tell of a module that can't be imported, which is seldom sgl-launch's own mistake: PYTHONPATH or the
    user's site-packages put another version before it, or the installation is not whole."""
    wrong = f"a Python module can't be imported ({error})"
    own = os.path.realpath(sys.prefix)
    paths = os.environ.get("PYTHONPATH", "")
    origin = os.path.realpath(error.path) if error.path else ""
    if paths:
        return f"{wrong}: PYTHONPATH={paths} may hide the version that sgl-launch was installed with; unset it"
    if origin and not origin.startswith(own):
        return f"{wrong}: {error.path} is not of sgl-launch's own environment {sys.prefix}; remove it there"
    return f"sgl-launch is installed without a part that it needs ({error}); install it again in {sys.prefix}"
