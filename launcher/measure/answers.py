"""`eval` from beginning to end: the ways that there are, asked and compared, shown."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launcher.base.errors import InputError, WorkError
from launcher.front.keys import key_of_environment
from launcher.measure import greedy
from launcher.run.deployment import expected_workers, read_deployment
from launcher.run.target import run_or_address
from warmup.requests import AddressError, Worker, parse_address
from warmup.requests.target import NotServing

SHOWN = 3


@dataclass(frozen=True)
class Answers:
    """Each way against the first."""

    reference: str
    model: str
    prompts: int
    tokens: int
    ways: tuple[greedy.Compared, ...]

    def agrees(self, allowed: float) -> bool:
        return all(way.agrees(allowed) for way in self.ways)


def run(target: str | None, against: str | None, runs: Path, count: int, tokens: int) -> Answers:
    """Raises InputError for a target that is none, WorkError for one that does not serve."""
    ways = asyncio.run(_ways(target, runs, "" if against is None else "target "))
    if against is not None:
        ways += asyncio.run(_ways(against, runs, "against "))
    if len(ways) == 1:
        # One worker, or workers that cannot be told apart: is it at least of one mind with itself?
        ways *= 2
    found = asyncio.run(greedy.ask_all(ways, greedy.prompts(count), tokens))
    return Answers(ways[0].name, ways[0].model, count, tokens, tuple(greedy.compare(ways, found)))


async def _ways(target: str | None, runs: Path, prefix: str) -> list[greedy.Way]:
    folder = run_or_address(target, runs)
    expected: list[Worker] | None = None
    model: str | None = None
    try:
        if folder is None:
            url = parse_address(target or "")
            access = greedy.Access(key_of_environment(url))
        else:
            deployment = read_deployment(folder)
            if deployment.plan.engine == "mocker":
                raise WorkError("the mocker draws its answers at random: eval compares those of real workers")
            url, model, expected = deployment.endpoint, deployment.model, expected_workers(deployment)
            access = greedy.Access(deployment.keys.endpoint, deployment.ca)
        name, workers = await greedy.workers_at(url, model, expected, access)
    except AddressError as e:
        raise InputError(str(e)) from None
    except NotServing as e:
        raise WorkError(str(e)) from None
    return greedy.ways_through(f"{prefix}{folder.name if folder else url}", url, name, workers, access)


def to_dict(report: Answers, allowed: float) -> dict[str, Any]:
    return {"version": 1, "agrees": report.agrees(allowed), "allowed": allowed, **asdict(report)}


def keep(report: Answers, target: str | None, runs: Path, allowed: float) -> None:
    """RUN/eval/TIME.json, for the report and for later; nothing for an address."""
    run = run_or_address(target, runs)
    if run is not None:
        folder = run.path / "eval"
        folder.mkdir(exist_ok=True)
        text = json.dumps(to_dict(report, allowed), indent=1) + "\n"
        (folder / f"{time.strftime('%Y%m%d-%H%M%S')}.json").write_text(text, encoding="utf-8")


def show(report: Answers, allowed: float) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 80)

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, markup=False, highlight=False)

    say(f"{report.model}: {report.prompts} prompts, greedy, {report.tokens} tokens; held against {report.reference}")
    for way in report.ways:
        good = way.agrees(allowed)
        count = way.equal + len(way.parted)
        say(f"{way.way}: {way.equal} of {count} texts equal", "green" if good else "red")
        for each in way.parted[:SHOWN]:
            say(f"  prompt {each.prompt} parts at character {each.at}: {each.reference!r} against {each.other!r}")
        if len(way.parted) > SHOWN:
            say(f"  and {len(way.parted) - SHOWN} more; the earliest at character {min(p.at for p in way.parted)}")
        for error in way.errors[:SHOWN]:
            say(f"  {error}", "red")
        if way.astray:
            say(f"  {way.astray} answers came from other workers than asked for; frontend.router_mode: kv obeys")
    say("the answers agree" if report.agrees(allowed) else "the answers do NOT agree", "bold")
