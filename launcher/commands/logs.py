"""`sgl-launch logs JOB [GROUP[:RANK]]`: a job's logs, merged or one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import click

from launcher.base.errors import InputError
from launcher.commands.options import complete_group, find_its_run, job_argument
from launcher.run.folder import RunFolder
from launcher.run.logfiles import BLOCK, Tail, last_lines, lines, log_name, matching, parts
from launcher.run.logtext import by_time, plain
from launcher.run.state import job_state

COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_yellow")


@click.command("logs")
@job_argument
@click.argument("group", required=False, shell_complete=complete_group)
@click.option("-f", "--follow", is_flag=True, help="Continue until the job ends, across restarts.")
@click.option("-n", "--lines", "last", type=click.IntRange(0), default=0, help="Show only the last N lines of each.")
@click.option("-g", "--grep", "pattern", metavar="REGEX", help="Show only lines that match.")
@click.option("--why", "why_", is_flag=True, help="Show only what explains a failure, and what to do about it.")
@find_its_run
def command(run: RunFolder, group: str | None, follow: bool, last: int, pattern: str | None, why_: bool) -> None:
    """Show the logs of JOB: all, or those of GROUP (prefill-0), or of one rank (prefill-0:1).

    Several logs are merged by the time of their lines.
    """
    if why_:
        from launcher.report.why import why

        click.echo("\n".join(why(run)))
        return
    wanted = _pattern(pattern)
    files = matching(run, group, waiting=follow)
    logs = Tail(run, group)
    sizes = {path: logs.start_at_end(path) if follow else None for path in files}
    named = len(files) > 1 or follow
    for path, line in by_time((path, _written(path, last, sizes[path])) for path in files):
        _print(path, line, named, wanted)
    turn, ended = 0, False
    while follow:
        if turn % 4 == 0:  # each time asks Slurm's controller
            ended = job_state(run).ended  # asked before reading: what it wrote last is not lost
        turn += 1
        found = list(logs.read())
        for path, line in by_time(found):
            _print(path, line, True, wanted)
        if ended and not found:
            return
        if not any(sum(map(len, new)) > BLOCK // 2 for _, new in found):  # else there is more already
            time.sleep(0.5)


def _written(path: Path, last: int, size: int | None) -> Iterable[str]:
    """The lines of a log that are there, or its last ones; as far as `size` bytes of the newest file."""
    if last:
        found = last_lines(path, last, size)
        older = parts(path)[:-1] if len(found) < last else []
        return [*(line for part in older for line in last_lines(part, last - len(found))), *found]
    return chain.from_iterable(lines(part, size if part == path else None) for part in parts(path))


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as e:
        raise InputError(f"--grep {text}: not a regular expression: {e}") from None


def _print(path: Path, line: str, named: bool, wanted: re.Pattern[str] | None) -> None:
    text = plain(line)
    if wanted and not wanted.search(text):
        return
    name = log_name(path)
    prefix = click.style(f"{name}| ", fg=colour(name)) if named else ""
    click.echo(f"{prefix}{text}")


def colour(log: str) -> str:
    """A group's colour: that of all its ranks, and the same in every call."""
    group = re.sub(r"-\d+$", "", log)
    return COLOURS[sum(group.encode()) % len(COLOURS)]
