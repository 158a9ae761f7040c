"""Run folders in a folder of runs, and the one that a command's JOB names. Others' are skipped, and counted."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from launcher.base.counting import counted
from launcher.base.errors import InputError
from launcher.run.folder import RunFolder, owned


@dataclass(frozen=True)
class Runs:
    """The run folders of the caller, oldest first, and how many other folders there are that are not the caller's or
    can't be read."""

    runs: list[RunFolder]
    others: int

    @property
    def note(self) -> str:
        """Of those that were left out, for people; empty if there are none."""
        if not self.others:
            return ""
        return f"{counted(self.others, 'run folder')} of other users {'is' if self.others == 1 else 'are'} not shown"

    def near(self, word: str) -> str:
        """A hint at names and ids like this one; empty if there are none."""
        from launcher.base.suggest import nearest  # its package takes long to import

        return nearest(word, {name for run in self.runs for name in run.names})


def look_up(runs: Path) -> Runs:
    """The run folders in a folder. Raises InputError if it can't be read."""
    try:
        entries = [Path(e.path) for e in os.scandir(runs) if "-" in e.name]
    except (FileNotFoundError, NotADirectoryError):
        return Runs([], 0)
    except OSError as e:
        raise InputError(f"{runs}/ can't be read: {e.strerror}") from None
    folders = [p for p in entries if os.path.isdir(p)]
    own = [p for p in folders if owned(p) and os.access(p, os.R_OK | os.X_OK)]
    found = sorted(((_begin(p), p) for p in own if _is_run_folder(p)), key=lambda pair: pair[0])
    return Runs([RunFolder(p) for _, p in found], len(folders) - len(own))


def _is_run_folder(path: Path) -> bool:
    """A job that waits has no events yet; one whose script was not handed over by `submit`, or whose
    `submit` was killed, has no submit.json."""
    return any(os.path.exists(path / file) for file in ("events.jsonl", "submit.json", "local.json"))


def _begin(path: Path) -> float:
    """When the job was submitted, or began: these two files are written once."""
    times = []
    for file in (path / "submit.json", path / "plan.json"):
        with contextlib.suppress(OSError):
            times.append(file.stat().st_mtime)
    return min(times, default=0.0) or path.stat().st_ctime


def is_run(job: str, runs: Path) -> bool:
    """Whether this names a run (rather than an address)."""
    return _is_run_folder(Path(job)) or any(job in r.names for r in look_up(runs).runs)


def find_run(job: str | None, runs: Path) -> RunFolder:
    """A run by folder, job id or name (the newest of that name; of a service's, the newest that answers); the newest
    run without one. A folder's path may be someone else's. Raises InputError when there is none, naming those there
    are."""
    if job and _is_run_folder(Path(job)):
        return RunFolder(Path(job).resolve())
    known = look_up(runs)
    matching = [r for r in known.runs if job is None or job in r.names]
    if matching:
        service = job is not None and matching[-1].of_service
        return next((r for r in reversed(matching) if service and r.of_service and r.endpoint()), matching[-1])
    note = f" ({known.note})" if known.note else ""
    if not known.runs:
        raise InputError(f"there are no runs in {runs}/{note}; give --runs, or a run folder's path")
    newest = ", ".join(r.path.name for r in known.runs[-8:])
    raise InputError(f"no run {job!r} in {runs}/; the newest ones: {newest}{known.near(job or '')}{note}")
