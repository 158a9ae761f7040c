"""`sgl-launch eval [JOB|ADDRESS]`: are the answers the same, whichever workers give them?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from launcher.commands.options import json_option, runs_option


@click.command("eval")
@click.argument("target", metavar="[JOB|ADDRESS]", required=False)
@click.option(
    "--against", metavar="JOB|ADDRESS", help="Another deployment of the same model, such as an aggregated one."
)
@click.option("--prompts", "count", type=click.IntRange(min=1), default=50, show_default=True, help="How many.")
@click.option("--tokens", type=click.IntRange(min=1), default=32, show_default=True, help="Of each answer.")
@click.option(
    "--allow", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of the answers that may part."
)
@json_option
@runs_option
def command(
    target: str | None, against: str | None, count: int, tokens: int, allow: float, as_json: bool, runs: Path
) -> None:
    """Send the same prompts, greedy, through every worker (and to --against), and compare the texts.

    Answers that part early and often come from a corrupt KV transfer, other weights or a wrong flag; on GPUs a few may
    part late, where two tokens are equally likely. Exit status 1 when more than --allow part, or a request fails. Needs
    no data. Asking through a certain decode worker needs a router that obeys (`router_mode: kv`); others are told of.
    """
    from launcher.measure import answers

    report = answers.run(target, against, runs, count, tokens)
    if as_json:
        click.echo(json.dumps(answers.to_dict(report, allow), indent=1))
    else:
        answers.show(report, allow)
    sys.exit(0 if report.agrees(allow) else 1)
