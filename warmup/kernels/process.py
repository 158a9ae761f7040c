"""Child processes that never outlive the build."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have Linux kill this process when its parent ends, even by SIGKILL; else do nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start(
    command: Sequence[str],
    output: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    nice: int = 0,
) -> subprocess.Popen[bytes]:
    """Start a command as the head of its own process group, both its streams into `output`.

    nice: added to this process's own niceness, 0 to 19.
    """

    def prepare() -> None:
        die_with_parent()
        if nice:
            os.nice(nice)

    with output.open("wb") as stream:
        return _popen(command, stream, cwd, env, prepare)


def _popen(
    command: Sequence[str], stream: IO[bytes], cwd: Path | None, env: Any, prepare: Any
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=stream,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=None if env is None else dict(env),
        start_new_session=True,
        preexec_fn=prepare,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process group that start() made, and collect its head."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(file: Path, lines: int = 12) -> str:
    """The last lines of a log for an error message; empty when there is none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])
