"""`sgl-launch report JOB`: a page about a run."""

from __future__ import annotations

from pathlib import Path

import click

from launcher.base.errors import WorkError
from launcher.commands.options import find_its_run, job_argument
from launcher.run.folder import RunFolder


@click.command("report")
@job_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Default: report.html in the run folder."
)
@find_its_run
def command(run: RunFolder, output: Path | None) -> None:
    """Write one HTML page about JOB: timeline, nodes and groups, warm-up, config and versions.

    The page needs no network and can be sent as it is. It holds no secrets but what the config has.
    """
    from launcher.report.page import page

    target = output or run.path / "report.html"
    text = page(run)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as e:
        raise WorkError(f"{target} can't be written: {e.strerror}") from None
    click.echo(str(target))
