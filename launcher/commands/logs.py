"""`sgl-launch logs JOB [GROUP[:RANK]]`: a job's logs, merged or one."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import click

from launcher.base.errors import InputError
from launcher.commands.options import complete_group, job_argument, runs_option
from launcher.run.folder import RunFolder, find_run
from launcher.run.logtext import by_time, plain
from launcher.run.state import job_state

COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_yellow")


@click.command("logs")
@job_argument
@click.argument("group", required=False, shell_complete=complete_group)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends, across restarts.")
@click.option("-n", "--lines", type=int, default=0, help="Only the last N lines of each log.")
@click.option("-g", "--grep", "pattern", metavar="REGEX", help="Only lines that match.")
@click.option("--why", "why_", is_flag=True, help="Only what explains a failure, and what to do about it.")
@runs_option
def command(
    job: str | None, group: str | None, follow: bool, lines: int, pattern: str | None, why_: bool, runs: Path
) -> None:
    """Show the logs of JOB: all, or those of GROUP (prefill-0), or of one rank (prefill-0:1).

    Several logs are merged by the time of their lines.
    """
    run = find_run(job, runs)
    if why_:
        from launcher.report.why import why

        click.echo("\n".join(why(run)))
        return
    wanted = _pattern(pattern)
    files = matching(run, group, waiting=follow)
    logs = Tail(run, group)
    now = [(path, logs.new(path)) for path in files]
    printed = [(path, found[-lines:] if lines else found) for path, found in now]
    named = len(files) > 1 or follow
    for path, line in by_time(printed):
        _print(path, line, named, wanted)
    turn, ended = 0, False
    while follow:
        if turn % 4 == 0:  # each time asks Slurm's controller
            ended = job_state(run).ended  # asked before reading: what it wrote last is not lost
        turn += 1
        for path, line in by_time(logs.read()):
            _print(path, line, True, wanted)
        if ended:
            return
        time.sleep(0.5)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as e:
        raise InputError(f"--grep {text}: not a regular expression: {e}") from None


def matching(run: RunFolder, group: str | None, waiting: bool = False) -> list[Path]:
    """The log files of a group, rank, service or all. Raises InputError if there is none, unless
    one may still come."""
    files = sorted((run.path / "logs").glob("*.log"))
    if group:
        name, colon, rank = group.partition(":")
        wanted = {f"{name}-{rank}"} if colon else None
        chosen = [
            f for f in files if (f.stem in wanted if wanted else f.stem == name or f.stem.rpartition("-")[0] == name)
        ]
        if not chosen and not (waiting and _planned(run, name)):
            known = ", ".join(f.stem for f in files) or "none yet"
            raise InputError(f"no log of {group!r} in {run.path}/logs; there are: {known}")
        return chosen
    return files


def _planned(run: RunFolder, group: str) -> bool:
    plan = run.plan_or_none()
    return plan is None or plan.group(group) is not None


class Tail:
    """Reads what log files have become longer by; a file that was begun anew is read anew."""

    def __init__(self, run: RunFolder, group: str | None) -> None:
        self._run, self._group = run, group
        self._read: dict[Path, tuple[int, int]] = {}  # inode and size up to which it was read

    def read(self) -> Iterator[tuple[Path, list[str]]]:
        """Each file's new lines; new files are found."""
        files = matching(self._run, self._group, waiting=True)
        self._read = {path: at for path, at in self._read.items() if path in files}
        for path in files:
            if lines := self.new(path):
                yield path, lines

    def new(self, path: Path) -> list[str]:
        """New whole lines; none of a file that is gone."""
        inode, at = self._read.get(path, (0, 0))
        try:
            with path.open("rb") as f:
                about = os.fstat(f.fileno())
                if about.st_ino != inode or about.st_size < at:
                    at = 0
                f.seek(at)
                chunk = f.read()
        except OSError:
            return []
        whole = chunk[: chunk.rfind(b"\n") + 1]
        self._read[path] = (about.st_ino, at + len(whole))
        return whole.decode(errors="replace").splitlines()


def _print(path: Path, line: str, named: bool, wanted: re.Pattern[str] | None) -> None:
    if wanted and not wanted.search(plain(line)):
        return
    # click leaves colours out where the output is no terminal, those of the lines too
    prefix = click.style(f"{path.stem}| ", fg=colour(path.stem)) if named else ""
    click.echo(f"{prefix}{line}")


def colour(log: str) -> str:
    """A group's colour: that of all its ranks, and the same in every call."""
    group = re.sub(r"-\d+$", "", log)
    return COLOURS[sum(group.encode()) % len(COLOURS)]
