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
@click.option(
    "--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Ask these questions instead (JSONL)."
)
@click.option("--grade-as", "known", metavar="SET", help="How --data's answers are graded: gsm8k, aime25, mmlu ...")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Share of the answers that must be right.")
@click.option("--limit", type=click.IntRange(min=1), help="Ask the first so many questions of --data.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Of each answer to --data.")
@json_option
@runs_option
def command(
    target: str | None,
    against: str | None,
    count: int,
    tokens: int,
    allow: float,
    known: str | None,
    data: Path | None,
    threshold: float | None,
    limit: int | None,
    max_tokens: int | None,
    as_json: bool,
    runs: Path,
) -> None:
    """Send the same prompts, greedy, through every worker (and to --against), and compare the texts.

    Answers that part early and often come from a corrupt KV transfer, other weights or a wrong flag; on GPUs a few may
    part late, where two tokens are equally likely. Exit status 1 when more than --allow part, or a request fails. Needs
    no data. Asking through a certain decode worker needs a router that obeys (`router_mode: kv`); others are told of.

    With --data, sgl-eval (the extra [eval]) asks the questions of a file, each line {"problem": ..., "expected_answer":
    ...}, and grades the answers; exit status 1 below --threshold. Nothing is downloaded.
    """
    if known or data or threshold is not None:
        _known(target, runs, known, data, threshold, limit, max_tokens, as_json)
    from launcher.measure import answers

    report = answers.run(target, against, runs, count, tokens)
    answers.keep(report, target, runs, allow)
    if as_json:
        click.echo(json.dumps(answers.to_dict(report, allow), indent=1))
    else:
        answers.show(report, allow)
    sys.exit(0 if report.agrees(allow) else 1)


def _known(
    target: str | None,
    runs: Path,
    name: str | None,
    data: Path | None,
    threshold: float | None,
    limit: int | None,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    from launcher.measure import known

    if name is None or data is None or threshold is None:
        raise click.UsageError("--data, --grade-as and --threshold go together")
    words = ("--max-tokens", str(max_tokens)) if max_tokens else ()
    score = known.run(target, runs, name, data, limit, words)
    good = score.reaches(threshold)
    if as_json:
        said = {"set": score.name, "share": score.share, "questions": score.questions, "partial": score.partial}
        click.echo(json.dumps({"version": 1, "agrees": good, "threshold": threshold, **said, "failed": score.failed}))
    else:
        asked = f"{score.questions} questions{' (not all were asked)' if score.partial else ''}"
        asked += f" (no answer to {score.failed:.1%})" if score.failed else ""
        click.echo(f"{score.name}: {score.share:.1%} of {asked} right; {threshold:.1%} are wanted. See {score.folder}")
    sys.exit(0 if good else 1)
