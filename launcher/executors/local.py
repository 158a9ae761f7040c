"""submitit's local executor, starting our own script instead of a pickled function."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import submitit

from launcher.base.processes import start_time
from launcher.run.folder import RunFolder


class ScriptExecutor(submitit.LocalExecutor):
    """Starts `script` under bash in a session of its own; it outlives the caller."""

    def __init__(self, runs: Path, name: str, script: str, env: Mapping[str, str]) -> None:
        self._runs, self._script, self._name, self._env = runs, script, name, env
        super().__init__(folder=runs / f"{name}-%j")

    def submit_script(self) -> RunFolder:
        """Start the script; its id is the first free L<n> among the run folders."""
        run = RunFolder(_new_folder(self._runs, self._name))
        script = run.path / "submitted.sh"
        script.write_text(self._script, encoding="utf-8")
        start_script(script, run, {**self._env, "SGL_JOB_ID": run.job_id})
        return run


def start_script(script: Path, run: RunFolder, env: Mapping[str, str]) -> None:
    """Start a script under bash in a session of its own; it outlives the caller."""
    with run.output.open("ab") as file:
        subprocess.Popen(
            ["bash", str(script)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **env},
            # by the new process itself, before it becomes the script: whatever happens to this
            # one, no script runs that `cancel` and `status` do not know
            preexec_fn=lambda: _record_process(run),
        )


def _record_process(run: RunFolder) -> None:
    """Write this process down as the run's script."""
    pid = os.getpid()
    # a pid alone may be somebody else's by the time the job is cancelled
    run.write_json("local.json", {"pid": pid, "start_time": start_time(pid), "host": socket.gethostname()})


def _new_folder(runs: Path, name: str) -> Path:
    """Make the run folder of the first free id: two submits at once get two."""
    runs.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        if not any(runs.glob(f"*-L{number}")):
            with contextlib.suppress(FileExistsError):
                folder = runs / f"{name}-L{number}"
                folder.mkdir()
                break
    return folder
