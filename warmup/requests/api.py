"""``run``: from an address to a report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from .address import parse_address
from .client import Client
from .clock import run as run_loop
from .coverage import Coverage, Roster, Worker, make_roster
from .limits import Limits
from .outcome import Progress, SizeOutcome, SweepResult
from .probe import PROBES, Probed, probe_until_quick
from .prompts import Prompts
from .report import Report
from .rule import Rule
from .session import open_session
from .sizes import Sizing, plan_sizes
from .sweep import sweep
from .target import NotServing, Target, list_instances, look
from .verdict import FAILED, Verdict, judge
from .wire import Wire, most_connections

LEARNT_FROM = 64
"""Tokens up to which a first prompt may be wrong in length by what a word takes."""
SPARE_FILES = 256


@dataclass(frozen=True)
class Options:
    """How to sweep. Times are in seconds."""

    limits: Limits = field(default_factory=Limits)
    """What the deployment was started with. What is open is asked of the server, then assumed."""
    sizing: Sizing = field(default_factory=Sizing)
    rule: Rule = field(default_factory=Rule)
    time_limit: float = 3600.0
    """For the whole sweep."""
    request_timeout: float = 900.0
    """For one request. A first one may wait for minutes of compilation."""
    max_errors: int = 10
    """Failed requests after which the sweep stops; a single one already fails the verdict."""
    cacheable: bool = False
    """Send the same prompts again and again; first tokens may then come from the prefix cache."""
    probes: int = PROBES
    """Prompts after the sweep that no size of it had."""


def run(
    address: str,
    *,
    model: str | None = None,
    options: Options = Options(),
    expected_workers: Sequence[Worker] | None = None,
    progress: Progress | None = None,
    api_key: str | None = None,
    ca_file: str | None = None,
) -> Report:
    """Sweep the deployment at ``address`` until it is warm, and report.

    ``address`` is an IP (port 8000), HOST:PORT, or a URL. ``model`` is taken from /v1/models when
    it is not given. ``expected_workers`` are the workers that must be met, by instance id, by
    request-plane address, or by role only; left out, those that are registered are. ``progress``
    is called from the event loop and must not block. ``api_key`` and ``ca_file`` are as for `open_session`.

    Whatever the deployment does ends in the report's verdict. Raises AddressError (a ValueError)
    for an address that cannot be one. Must not be called from a running event loop: use
    ``run_async`` there.
    """
    return run_loop(
        run_async(
            address,
            model=model,
            options=options,
            expected_workers=expected_workers,
            progress=progress,
            api_key=api_key,
            ca_file=ca_file,
        )
    )


async def run_async(
    address: str,
    *,
    model: str | None = None,
    options: Options = Options(),
    expected_workers: Sequence[Worker] | None = None,
    progress: Progress | None = None,
    api_key: str | None = None,
    ca_file: str | None = None,
) -> Report:
    """As ``run``, for a running event loop."""
    base_url = parse_address(address)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    began = time.monotonic()
    async with (
        open_session(api_key, ca_file) as session,
        Wire(base_url, options.request_timeout, api_key, ca_file) as wire,
    ):
        try:
            target = await look(session, base_url, model)
        except NotServing as error:
            return Report(
                base_url,
                model,
                None,
                Verdict(FAILED, (str(error),)),
                started,
                roster=Roster(tuple(expected_workers or ())),
                rule=options.rule,
                limits=options.limits,
            )
        roster = make_roster(expected_workers, target.instances)
        coverage = Coverage(roster)
        limits = _with_workers(options.limits.filled(target.limits), roster)
        plan = plan_sizes(limits, _within_files(options.sizing))
        prompts = Prompts(cacheable=options.cacheable)
        client = Client(wire, base_url, target.model, target.names_workers, prompts)
        if plan.sizes[0].prompt_tokens > LEARNT_FROM:
            # Else the first prompts are short, and teach how many tokens a word takes.
            await client.send(LEARNT_FROM, 1)

        async def refresh() -> Roster | None:
            instances = await list_instances(session, base_url)
            return None if instances is None else make_roster(expected_workers, instances)

        result = await sweep(
            client,
            plan.sizes,
            coverage,
            rule=options.rule,
            time_limit=options.time_limit,
            max_errors=options.max_errors,
            progress=progress,
            refresh=refresh if target.names_workers else None,
        )
        probed: tuple[Probed, ...] = ()
        if result.stopped is None and not result.errors and options.probes:
            deadline, count = began + options.time_limit, options.probes
            known = coverage.roster
            probed = await probe_until_quick(client, plan.sizes, limits, count, result, known, options.rule, deadline)
            result.seconds = time.monotonic() - began
    unregistered = coverage.roster.unregistered if target.names_workers else ()
    return Report(
        base_url,
        target.model,
        target.kind,
        judge(result, unregistered, probed),
        started,
        result=result,
        roster=coverage.roster,
        told_apart=coverage.told_apart,
        rule=options.rule,
        limits=limits,
        notes=_notes(target, coverage, client, plan.notes, result),
        probed=probed,
    )


def _with_workers(limits: Limits, roster: Roster) -> Limits:
    """Count the workers from the roster where the caller left them at one."""
    roles = [w.role for w in roster.expected]
    prefill = roles.count("prefill") or roles.count("agg")
    decode = roles.count("decode") or roles.count("agg")
    return replace(
        limits,
        prefill_workers=max(limits.prefill_workers, prefill),
        decode_workers=max(limits.decode_workers, decode),
    )


def _within_files(sizing: Sizing) -> Sizing:
    """Each request in flight takes an open file of this process."""
    most = max(1, most_connections() - SPARE_FILES)
    return replace(sizing, max_concurrency=min(sizing.max_concurrency, most), max_ramp=min(sizing.max_ramp, most))


def _as_asked(outcome: SizeOutcome) -> bool:
    """One token may be asked for, but a word and what precedes it are what they are."""
    return outcome.prompt_tokens in (None, outcome.size.prompt_tokens) or outcome.size.prompt_tokens == 1


def _notes(
    target: Target,
    coverage: Coverage,
    client: Client,
    planned: Sequence[str],
    result: SweepResult,
) -> tuple[str, ...]:
    notes = list(planned)
    if coverage.told_apart is False:
        notes.append(
            "the answers do not name their workers"
            + (" (no Dynamo frontend)" if target.kind != "dynamo" else "")
            + ": workers could not be told apart, so one that was never met would not be noticed"
        )
    off = [f"{o.size.key} ({o.prompt_tokens})" for o in result.outcomes if not _as_asked(o)]
    if off:
        more = f" and {len(off) - 3} more" if len(off) > 3 else ""
        notes.append(f"the server counted other prompt lengths than asked for: {', '.join(off[:3])}{more}")
    if coverage.roster.extra:
        names = ", ".join(w.name for w in coverage.roster.extra)
        notes.append(f"registered but not expected: {names}")
    if client.prompts.cacheable:
        notes.append("cacheable prompts: first tokens may come from the prefix cache")
    return tuple(notes)
