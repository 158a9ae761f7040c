"""Other programs, asked with a limit: one that hangs, or whose child keeps the pipe open, costs no more than that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

MISSING, SILENT = 127, 124


class Asked:
    """A program that runs, in a process group of its own."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._answer: tuple[int, str] | None = None
        self._partial = b""
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=env,
            )
        except FileNotFoundError:
            self._answer = MISSING, f"{command[0]} is not on PATH"
        except OSError as e:
            self._answer = 126, f"{command[0]} can't be started: {e.strerror}"

    def answer(self, deadline: float) -> tuple[int, str] | None:
        """Exit status, and output (stderr's too when it failed); None if it has not ended at `deadline`
        (time.monotonic())."""
        if self._answer is None and self._process is not None:
            try:
                out, err = self._process.communicate(timeout=max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired as e:
                self._partial = e.output or b""
                return None
            code = self._process.returncode
            self._answer = code, (out if code == 0 else out + err).decode(errors="replace")
        return self._answer

    def output_so_far(self) -> str:
        """What a program that has not ended had printed when it was last waited for."""
        return self._partial.decode(errors="replace")

    def close(self) -> None:
        """End it and its children, if it still runs."""
        if self._process is None or self._answer is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)


def run_command(command: Sequence[str], timeout: float = 10, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Exit status and output (stderr's too when it failed). MISSING when the program is not there, SILENT when it
    does not end within `timeout` seconds."""
    with contextlib.closing(Asked(command, env)) as asked:
        found = asked.answer(time.monotonic() + timeout)
    return found or (SILENT, f"{command[0]} did not answer within {timeout:g} s")
