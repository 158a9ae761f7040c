"""submitit's Slurm executor, submitting our own script instead of a pickled function."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import submitit

from launcher.base.errors import InputError, WorkError
from launcher.base.programs import MISSING, Asked
from launcher.executors.refusal import may_exist, refused
from launcher.executors.sbatch import check_options, environment, job_in
from launcher.run.folder import RunFolder

LIMIT = 120.0  # seconds for sbatch: Slurm's own limit of a message is 10 s, and it tries again


def sbatch_command(script: str, runs: Path, name: str, options: Sequence[str]) -> list[str]:
    """The command that submits a script; the job's output goes beside its run folder. Raises InputError for options
    that the plan decides, and for a folder that sbatch can't be told."""
    check_options(options)
    folder = str(runs.absolute())
    if "\\" in folder:
        raise InputError(f"runs: {folder} has a backslash, with which sbatch knows no file names")
    output = f"--output={folder.replace('%', '%%')}/{name}-%j.out"
    return ["sbatch", "--parsable", output, *options, script]


class ScriptExecutor(submitit.SlurmExecutor):
    """Submits `script` as it is. `config_sets` are the sbatch options in it that come from the config. Raises
    WorkError when sbatch refuses it or is not there. `problems` are what went wrong once the job was there."""

    def __init__(
        self, runs: Path, name: str, script: str, options: Sequence[str], config_sets: Sequence[str] = ()
    ) -> None:
        self._runs, self._script, self._name = runs, script, name
        self._options, self._config_sets = options, config_sets
        self.problems: list[str] = []
        try:
            super().__init__(folder=runs / f"{name}-%j")
        except RuntimeError:
            raise WorkError(
                "there is no Slurm here (srun is not on PATH); run this where sbatch works, or use --cluster local"
            ) from None

    def submit_script(self) -> tuple[RunFolder, str]:
        """Hand the script over; its run folder, which gets a copy, and ID[;CLUSTER]."""
        # checked before anything is written or submitted
        words = sbatch_command("", self._runs, self._name, self._options)[:-1]
        self._runs.mkdir(parents=True, exist_ok=True)
        script = self._runs / f".{self._name}-{uuid.uuid4().hex}.sh"
        try:
            script.write_text(self._script, encoding="utf-8")
            began = script.stat().st_mtime  # just before sbatch, by the same file server's clock
            parsable = self._sbatch([*words, str(script)])
            run = RunFolder(self._runs / f"{self._name}-{parsable.partition(';')[0]}")
            self._keep(script, run, began)
        finally:
            with contextlib.suppress(OSError):
                script.unlink(missing_ok=True)
        return run, parsable

    def _sbatch(self, words: list[str]) -> str:
        """Run sbatch; ID[;CLUSTER]. Whatever it answers, a job that there may be is never denied."""
        with contextlib.closing(Asked(words, environment(os.environ, self._config_sets))) as sbatch:
            answer = sbatch.answer(time.monotonic() + LIMIT)
            output = answer[1] if answer else sbatch.output_so_far()
        parsable = job_in(output)
        if not parsable:
            if answer is None:
                raise WorkError(may_exist(f"sbatch did not answer within {LIMIT:.0f} s", self._name))
            if answer[0] == MISSING:
                raise WorkError(f"{output}; run this where sbatch works, or use --cluster local")
            raise WorkError(refused(output, self._name, failed=answer[0] != 0))
        if answer is None or answer[0]:
            how = "did not end" if answer is None else f"ended with exit status {answer[0]}"
            self.problems.append(f"sbatch {how} after it had submitted the job")
        return parsable

    def _keep(self, script: Path, run: RunFolder, began: float) -> None:
        """Put the script as sbatch read it into the run folder."""
        try:
            run.path.mkdir(exist_ok=True)
            if not run.ours:
                self.problems.append(f"{run.path} belongs to another user: the job can't use it")
                return
            run.set_aside_older(began)
            script.rename(run.path / "submitted.sh")
        except OSError as e:
            self.problems.append(f"{run.path} can't be written: {e.strerror}")
