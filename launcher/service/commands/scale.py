"""`sgl-launch scale NAME decode=3`: worker groups in jobs of their own join a deployment that runs, or leave it."""

from __future__ import annotations

from pathlib import Path

import click

from launcher.base.errors import InputError
from launcher.commands.options import complete_job, runs_option
from launcher.run.folder import RunFolder
from launcher.service.commands.wrapped import current_link, is_service


@click.command("scale")
@click.argument("name", shell_complete=complete_job)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, required=True, metavar="ROLE=NUMBER... [-- SBATCH OPTIONS]")
@runs_option
def command(name: str, words: tuple[str, ...], runs: Path) -> None:
    """Have NAME, a run or a service, serve with so many worker groups of a role: decode=3 prefill=2.

    Each further group is a job of its own, which is warmed before it is used. A group that is to go takes nothing new,
    finishes its requests, and gives its nodes back. sbatch's options (--partition, --time) are for the new jobs.
    """
    from launcher.run.find import find_run
    from launcher.run.target import refuse_ended
    from launcher.service.pieces import add, changes, leave, own_groups, pieces, wishes
    from launcher.service.queue import SCALE

    numbers = [word for word in words if not word.startswith("-")]
    wanted, options = wishes(numbers), [word for word in words if word.startswith("-")]
    if not wanted:
        raise InputError("say how many worker groups of which role, such as decode=3")
    runs = runs.absolute()
    head = find_run(current_link(name, runs) if is_service(name, runs) else name, runs)
    refuse_ended(head)
    own = own_groups(head)
    new, gone = changes(wanted, own, pieces(head))
    if head.of_service:
        head.write_json(SCALE, {**(head.json(SCALE) or {}), **wanted})
        _withdraw_waiting(head)
    for piece in gone:
        leave(piece)
        click.echo(f"{piece.role}: job {piece.run.job_id} takes nothing new and ends when its requests have")
    for role, count in new.items():
        for _ in range(count):
            click.echo(f"{role}: job {add(head, role, list(own), options)} joins once it is warm")
    if not new and not gone:
        click.echo(f"{head.path.name} has that already: {' '.join(numbers)}")


def _withdraw_waiting(head: RunFolder) -> None:
    """The service's next job has the old numbers: the one that serves queues another."""
    from launcher.service import queue
    from launcher.service.links import links

    for link in links(head.name, head.path.parent):
        if link.held and link.number > int(head.job_id):
            queue.ask("scancel", link.run.job_id)
