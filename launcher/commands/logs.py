"""`sgl-launch logs JOB [GROUP[:RANK]]`: a job's logs, merged or one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click

from launcher.commands.options import runs_option
from launcher.errors import InputError
from launcher.jobstate import job_state
from launcher.runfolder import RunFolder, find_run


@click.command("logs")
@click.argument("job", required=False)
@click.argument("group", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@click.option("-n", "--lines", type=int, default=0, help="Only the last N lines of each log.")
@runs_option
def command(job: str | None, group: str | None, follow: bool, lines: int, runs: Path) -> None:
    """Show the logs of JOB: all, or those of GROUP (prefill-0), or of one rank (prefill-0:1)."""
    run = find_run(job, runs)
    files = matching(run, group)
    sizes: dict[Path, int] = {}
    for path in files:
        text = path.read_text(errors="replace")
        sizes[path] = path.stat().st_size
        _print(path, text.splitlines()[-lines:] if lines else text.splitlines(), len(files) > 1)
    while follow:
        for path, new in _new_lines(run, group, sizes):
            _print(path, new, True)
        if job_state(run).ended:
            return
        time.sleep(0.5)


def matching(run: RunFolder, group: str | None) -> list[Path]:
    """The log files of a group, rank, service or all. Raises InputError if there is none."""
    files = sorted((run.path / "logs").glob("*.log"))
    if group:
        name, colon, rank = group.partition(":")
        wanted = {f"{name}-{rank}"} if colon else None
        chosen = [
            f for f in files if (f.stem in wanted if wanted else f.stem == name or f.stem.rpartition("-")[0] == name)
        ]
        if not chosen:
            known = ", ".join(f.stem for f in files) or "none yet"
            raise InputError(f"no log of {group!r} in {run.path}/logs; there are: {known}")
        return chosen
    return files


def _new_lines(run: RunFolder, group: str | None, sizes: dict[Path, int]) -> Iterator[tuple[Path, list[str]]]:
    for path in matching(run, group):
        size = path.stat().st_size
        if size > sizes.get(path, 0):
            with path.open("rb") as f:
                f.seek(sizes.get(path, 0))
                chunk = f.read()
            whole = chunk[: chunk.rfind(b"\n") + 1]
            sizes[path] = sizes.get(path, 0) + len(whole)
            if whole:
                yield path, whole.decode(errors="replace").splitlines()


def _print(path: Path, lines: list[str], named: bool) -> None:
    prefix = click.style(f"{path.stem}| ", fg="cyan") if named else ""
    for line in lines:
        click.echo(f"{prefix}{line}")
