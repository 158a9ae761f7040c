"""submitit's Slurm executor, submitting our own script instead of a pickled function."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, JobPaths

from launcher.base.errors import WorkError
from launcher.executors.refusal import refused
from launcher.run.folder import RunFolder


@dataclass(frozen=True)
class Submitted:
    """`job_id` as Slurm knows it; `parsable` is what `sbatch --parsable` printed (ID[;cluster])."""

    job_id: str
    parsable: str
    folder: Path


def sbatch_command(script: str, runs: Path, name: str, options: Sequence[str]) -> list[str]:
    """The command that submits a script; the job's output goes beside its run folder."""
    output = f"--output={runs.absolute()}/{name}-%j.out"
    return ["sbatch", "--parsable", output, *options, script]


class ScriptExecutor(submitit.SlurmExecutor):
    """Submits `script` as it is. Raises WorkError when sbatch refuses it or is not there."""

    def __init__(self, runs: Path, name: str, script: str, options: Sequence[str]) -> None:
        self._script, self._name = script, name
        self._options = tuple(options)
        self._parsable = ""
        self._temporary: Path | None = None
        try:
            super().__init__(folder=runs / f"{name}-%j")
        except RuntimeError:
            raise WorkError(
                "there is no Slurm here (srun is not on PATH); run this where sbatch works, or use --cluster local"
            ) from None

    def submit_script(self) -> Submitted:
        """Hand the script over; the run folder gets a copy."""
        runs = JobPaths.get_first_id_independent_folder(self.folder)
        runs.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what it raises as well
                job = self._submit_command("")
        except FailedJobError as e:
            raise WorkError(refused(str(e))) from None
        except (FailedSubmissionError, FileNotFoundError) as e:
            raise WorkError(f"sbatch did not submit the job: {e}") from None
        finally:
            # the script as sbatch read it; once the job has an id, a link to its own copy
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)
        # written just before sbatch, by the same file server's clock
        RunFolder(job.paths.folder).set_aside_older(job.paths.submission_file.stat().st_mtime)
        job.paths.submission_file.rename(job.paths.folder / "submitted.sh")
        return Submitted(job.job_id, self._parsable, job.paths.folder)

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self._script

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        self._temporary = submission_file_path
        runs = submission_file_path.parent
        return sbatch_command(str(submission_file_path), runs, self._name, self._options)

    def _get_job_id_from_submission_command(self, string: bytes | str) -> str:  # type: ignore[override]
        text = string.decode() if isinstance(string, bytes) else string
        last = text.strip().splitlines()[-1] if text.strip() else ""
        if not re.fullmatch(r"[0-9]+(;[\w.-]+)?", last):
            raise FailedSubmissionError(f"sbatch --parsable printed {text!r}, not a job id")
        self._parsable = last
        return last.partition(";")[0]

    def _num_tasks(self) -> int:
        return 1

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        raise NotImplementedError("the script carries its own #SBATCH lines")
