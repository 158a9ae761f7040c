"""submitit's local executor, starting our own script instead of a pickled function."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import JobPaths
from submitit.local.local import LocalJob

from launcher.base.processes import start_time
from launcher.run.folder import RunFolder


class ScriptExecutor(submitit.LocalExecutor):
    """Starts `script` under bash in a session of its own; it outlives the caller."""

    def __init__(self, runs: Path, name: str, script: str, env: Mapping[str, str]) -> None:
        self._script, self._name, self._env = script, name, dict(env)
        super().__init__(folder=runs / f"{name}-%j")

    def submit_script(self) -> RunFolder:
        """Start the script; its id is the first free L<n> among the run folders."""
        job: LocalJob[Any] = self._submit_command("")
        return RunFolder(Path(job.paths.folder))

    def _submit_command(self, command: str) -> LocalJob[Any]:
        runs = JobPaths.get_first_id_independent_folder(self.folder)
        job_id, folder = _new_folder(runs, self._name)
        script = folder / "submitted.sh"
        script.write_text(self._script, encoding="utf-8")
        output = runs / f"{self._name}-{job_id}.out"
        process = start_script(script, output, RunFolder(folder), {**self._env, "SGL_JOB_ID": job_id})
        return LocalJob(folder=self.folder, job_id=job_id, process=process)


def start_script(script: Path, output: Path, run: RunFolder, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a script under bash in a session of its own; it outlives the caller."""
    with output.open("ab") as file:
        return subprocess.Popen(
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


def _new_folder(runs: Path, name: str) -> tuple[str, Path]:
    """Make the run folder of the first free id: two submits at once get two."""
    runs.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        taken = any(runs.glob(f"*-L{number}"))
        folder = runs / f"{name}-L{number}"
        if not taken:
            try:
                folder.mkdir()
                return f"L{number}", folder
            except FileExistsError:
                pass
        number += 1
