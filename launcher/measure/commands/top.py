"""`sgl-launch top [JOB]`: what each group does now."""

from __future__ import annotations

import asyncio
import json
import time

import click

from launcher.commands.options import find_its_run, job_argument, json_option
from launcher.run.folder import RunFolder


@click.command("top")
@job_argument
@click.option("--interval", type=click.FloatRange(min=0.2), default=2.0, show_default=True, metavar="SECONDS")
@click.option("--once", is_flag=True, help="Look twice, an interval apart, print and end.")
@json_option
@find_its_run
def command(run: RunFolder, interval: float, once: bool, as_json: bool) -> None:
    """Requests running and waiting, tokens a second and KV cache of each group, from the servers' metrics.

    A dash is a figure that a server does not export: SGLang tells of its queue and KV cache with `enable-metrics` in
    the role's args. Ends with Ctrl-C.
    """
    from launcher.measure import top
    from launcher.run.target import refuse_ended

    refuse_ended(run)
    look = asyncio.run(top.look(run))
    if once or as_json:
        time.sleep(interval)
        look = asyncio.run(top.look(run, look))
    if as_json:
        click.echo(json.dumps(top.to_dict(run, look), indent=1))
        return
    from rich.console import Console
    from rich.live import Live

    if once:
        Console(width=80).print(top.table(run, look.lines))
        return
    try:
        with Live(top.table(run, look.lines), auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(interval)
                refuse_ended(run)
                look = asyncio.run(top.look(run, look))
                live.update(top.table(run, look.lines), refresh=True)
    except KeyboardInterrupt:
        pass
