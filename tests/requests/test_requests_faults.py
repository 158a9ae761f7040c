"""The client, the sweep and the proof against a stand-in that misbehaves as told."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from requests_standin import DECODE, PREFILL, StandIn, serving

from warmup.requests import (
    Axes,
    Bound,
    Options,
    Proof,
    Report,
    RoundDone,
    Rule,
    Sizing,
    Worker,
    prove,
    prove_async,
    run,
    run_async,
)
from warmup.requests.prompts import WORDS
from warmup.requests.show import COLUMNS, Live, plot_lines, show

ONE = Sizing(Axes((64,), (2,), (4,)))
TWO = Sizing(Axes((16, 64), (2,), (4,)))
# Wide, so that a busy machine running these tests is not mistaken for a cold deployment.
WIDE = Bound(1.0, 0.4)
LOOSE = Rule(window=2, max_rounds=14, ttft=WIDE, itl=WIDE, slowest=WIDE, worker_ttft=WIDE, worker_itl=WIDE, probe=WIDE)
QUICK = Options(sizing=ONE, rule=LOOSE, time_limit=60, request_timeout=20)


def sweep_of(stand_in: StandIn, options: Options = QUICK, **more: Any) -> Report:
    async def go() -> Report:
        async with serving(stand_in):
            return await run_async(stand_in.url, options=options, **more)

    return asyncio.run(go())


def proof_of(stand_in: StandIn, **more: Any) -> Proof:
    async def go() -> Proof:
        async with serving(stand_in):
            more.setdefault("interval", 0.02)
            return await prove_async(f"127.0.0.1:{stand_in.port}", **more)

    return asyncio.run(go())


def test_a_good_deployment_is_warm() -> None:
    stand_in = StandIn()
    report = sweep_of(stand_in, replace(QUICK, sizing=TWO))
    assert report.verdict.reasons == ()
    assert report.verdict.warm
    assert (report.model, report.server, report.told_apart) == ("stand-in", "dynamo", True)
    assert stand_in.most_in_flight == 2
    first = stand_in.requests[0]
    assert (first["max_tokens"], first["min_tokens"], first["ignore_eos"]) == (4, 4, True)
    assert len(first["prompt"].split()) == 16
    swept = [r["prompt"] for r in stand_in.requests if r["max_tokens"] == 4]
    assert len(set(swept)) == len(swept), "no prompt twice"
    assert all(set(p.split()) <= set(WORDS) for p in swept), "plain words, whole characters"
    assert {r["temperature"] for r in stand_in.requests} == {0.0, 0.7}
    data = json.loads(report.to_json())
    assert [w["instance_id"] for w in data["workers"]] == [str(n) for n in (*PREFILL, *DECODE)]
    assert all(w["rounds"] >= 2 for s in data["sizes"] for w in s["workers"])


def test_the_cold_start_is_in_the_report() -> None:
    report = sweep_of(StandIn(cold=1.0), replace(QUICK, probes=0))
    assert report.verdict.warm, report.verdict
    (size,) = report.to_dict()["sizes"]
    assert size["first_ttft"] > 1.0 > size["steady_ttft"]
    for worker in size["workers"]:
        if worker["role"] == "prefill":
            assert worker["first_ttft"] > 1.0 > worker["steady_ttft"]
    (title, *rows) = plot_lines(report)
    assert "first" in title
    assert len(rows) == 5
    assert "probe" not in title
    assert max(map(len, rows)) <= COLUMNS


def test_getting_slower_is_not_steady_and_says_what_moved() -> None:
    strict = replace(QUICK, rule=Rule(window=2, max_rounds=4), probes=0)
    report = sweep_of(StandIn(growing=0.008, step=0.0), strict)
    assert report.verdict.state == "not steady"
    assert any("p64 c2 o4: ttft: " in r and "against" in r and "allowed" in r for r in report.verdict.reasons)


def test_a_prompt_that_is_slow_after_the_sweep_is_named() -> None:
    """A server that is quick at the lengths that it has met, and at no other."""
    stand_in = StandIn(cold=0.6, cold_after=12)
    report = sweep_of(stand_in)
    assert report.result.outcomes[0].state == "warm"
    assert report.verdict.state == "not steady"
    assert report.verdict.reasons[0].startswith("probe of ")
    assert "first token after 6" in report.verdict.reasons[0]
    probes = report.to_dict()["probes"]
    assert [p["slow"] for p in probes].count(True) >= 5
    assert {p["round"] for p in probes} == {1, 2, 3}
    assert report.to_dict()["sizes"][0]["probe_ttft"] > 0.6
    assert "◇ probe" in plot_lines(report)[0]


def test_a_prompt_that_was_slow_once_is_followed_by_a_round_that_proves_more() -> None:
    """A server that compiles one thing for all short prompts, which the sweep had none of."""
    report = sweep_of(StandIn(cold=1.0, cold_below=64))
    assert report.verdict.warm, report.verdict
    first, second = ([p for p in report.to_dict()["probes"] if p["round"] == turn] for turn in (1, 2))
    slow = {p["prompt_tokens"] for p in first if p["slow"]}
    assert len(slow) == 2  # one a prefill worker
    assert slow <= {p["prompt_tokens"] for p in second}
    assert len(second) == 22
    assert not any(p["slow"] for p in second)
    out = io.StringIO()
    show(report, out)
    assert "probe: 20 prompts as no size had them, 2 slow; 22 more, 0 slow" in " ".join(out.getvalue().split())


def test_the_probe_sends_what_the_sweep_did_not() -> None:
    stand_in = StandIn()
    report = sweep_of(stand_in)
    assert report.verdict.warm, report.verdict
    probed = [(p["counted_prompt_tokens"], p["cached_tokens"]) for p in report.to_dict()["probes"]]
    assert len(probed) == 20
    assert len({n for n, _ in probed}) == 20
    assert 64 not in {n for n, _ in probed}
    length, cached = next((n, c) for n, c in probed if c)
    beginnings = [r["prompt"][: 4 * cached] for r in stand_in.requests if len(r["prompt"].split()) == length]
    assert len(beginnings) == 2
    assert len(set(beginnings)) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("status", "HTTP 500 from /v1/completions: Failed to generate completions"),
        ("cut", "the stream was cut after 1 of 4 tokens"),
        ("inner", "error inside the stream: Internal server error"),
        ("short", "the answer ended after 1 of 4 tokens"),
    ],
)
def test_one_bad_answer_fails_the_verdict(fault: str, said: str) -> None:
    report = sweep_of(StandIn(fault=fault, fault_every=7))
    assert report.verdict.state == "failed"
    assert report.verdict.reasons[0].startswith(said)
    assert report.result.outcomes[0].state == "failed"


def test_nothing_but_errors_stops_at_the_first_round() -> None:
    stand_in = StandIn(fault="status")
    report = sweep_of(stand_in, replace(QUICK, sizing=TWO))
    assert len(stand_in.requests) == 4, "and no probe"
    assert report.result.stopped == "all 4 requests of a round failed"
    assert [s["state"] for s in report.to_dict()["sizes"]] == ["failed", "not run"]


def test_a_hanging_stream_is_given_up_and_named() -> None:
    began = time.monotonic()
    report = sweep_of(StandIn(fault="hang"), replace(QUICK, request_timeout=0.3))
    assert time.monotonic() - began < 15
    assert report.verdict.reasons[0].startswith("no end within 0.3 s: 0 of 4 tokens came")


def test_the_time_limit_cuts_a_hanging_round() -> None:
    began = time.monotonic()
    report = sweep_of(StandIn(fault="hang", fault_every=3), replace(QUICK, sizing=TWO, time_limit=0.6))
    assert time.monotonic() - began < 15
    assert report.verdict.state == "not steady"
    assert report.verdict.reasons[0].startswith("time limit reached in p16 c2 o4, round 1:")
    assert report.verdict.reasons[1] == "not run: p64 c2 o4"


def test_a_worker_that_never_answers_is_named() -> None:
    stand_in = StandIn(never=(DECODE[1],), honours_steering=False)
    expected = [Worker("decode", "decode-0", DECODE[0]), Worker("decode", "decode-1", DECODE[1])]
    report = sweep_of(stand_in, expected_workers=expected)
    assert report.verdict.state == "failed"
    assert report.verdict.reasons == ("decode-1 (decode) answered no request at p64 c2 o4",)
    assert any(r["nvext"].get("decode_worker_id") == DECODE[1] for r in stand_in.requests), "it was asked for"


def test_steering_reaches_a_worker_that_the_router_leaves_out() -> None:
    report = sweep_of(StandIn(never=(DECODE[1], PREFILL[0])))
    assert report.verdict.warm, report.verdict
    assert all(r["rounds"] >= 2 for r in report.to_dict()["sizes"][0]["workers"])


def test_a_planned_worker_that_did_not_register_fails() -> None:
    expected = [Worker("prefill", "prefill-0"), Worker("prefill", "prefill-1"), Worker("prefill", "prefill-2")]
    report = sweep_of(StandIn(), expected_workers=expected)
    assert "prefill-2 (prefill) is not registered" in report.verdict.reasons


def test_a_plain_server_says_that_workers_could_not_be_told_apart() -> None:
    stand_in = StandIn(dynamo=False)
    report = sweep_of(stand_in, expected_workers=[Worker("prefill", "prefill-0")])
    assert report.verdict.warm, report.verdict
    assert report.server == "sglang"
    assert report.told_apart is False
    assert any("could not be told apart" in n for n in report.notes)
    assert all("nvext" not in r for r in stand_in.requests)


def test_no_listener_no_model_wrong_model_two_models() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused = run(f"127.0.0.1:{taken.getsockname()[1]}", options=QUICK)
    assert refused.verdict.state == "failed"
    assert "connection refused at http://127.0.0.1:" in refused.verdict.reasons[0]
    assert "lists no model yet" in sweep_of(StandIn(models=())).verdict.reasons[0]
    wrong = sweep_of(StandIn(), model="other")
    assert wrong.verdict.reasons[0].endswith("serves stand-in, not other")
    assert "(a, b): name one" in sweep_of(StandIn(models=("a", "b"))).verdict.reasons[0]


def test_progress_tells_every_round_and_a_line_for_each_size() -> None:
    rounds: list[RoundDone] = []
    text = io.StringIO()
    with Live(text) as live:

        def progress(event: Any) -> None:
            live(event)
            if isinstance(event, RoundDone):
                rounds.append(event)

        report = sweep_of(StandIn(), progress=progress)
    assert len(rounds) == len(report.result.outcomes[0].rounds)
    assert text.getvalue().splitlines()[0] == "1 size, 4 workers"
    assert "[1/1] p64 c2 o4: warm after" in text.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_shown_report_is_plain_and_narrow_in_a_file(encoding: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, errors="replace" if encoding == "utf-8" else "strict") as file:
        show(sweep_of(StandIn(cold=0.05)), file)
        file.flush()
        lines = raw.getvalue().decode(encoding).splitlines()
    assert "verdict: warm" in lines
    assert max(map(len, lines)) <= COLUMNS
    assert "\x1b" not in "".join(lines)


def test_json_keeps_its_shape() -> None:
    data = sweep_of(StandIn()).to_dict()
    assert set(data) == {
        "version", "address", "model", "server", "verdict", "reasons", "started", "seconds", "requests",
        "errors", "notes", "workers_told_apart", "workers", "rule", "limits", "probes", "sizes",
    }  # fmt: skip
    assert set(data["sizes"][0]) == {
        "size", "prompt_tokens", "cached_tokens", "concurrency", "output_tokens", "ramp", "counted_prompt_tokens",
        "state", "rounds", "first_ttft", "steady_ttft", "probe_ttft", "steady_itl", "moved", "not_met", "history",
        "workers",
    }  # fmt: skip
    assert set(data["workers"][0]) == {"name", "role", "instance_id", "address", "expected", "registered"}


def test_proof_waits_until_the_deployment_is_up() -> None:
    seen: list[Proof] = []
    proof = proof_of(StandIn(silent_for=3), progress=seen.append)
    assert proof.ready
    assert {w.instance_id for w in proof.answered} == {*PREFILL, *DECODE}
    assert len(seen) == 4
    assert "HTTP 503" in str(seen[0].last_error)


def test_proof_takes_errors_for_not_yet() -> None:
    proof = proof_of(StandIn(fault="status", fault_every=2))
    assert proof.ready
    assert "HTTP 500" in str(proof.last_error)


def test_proof_names_who_is_missing_when_the_time_is_over() -> None:
    expected = [Worker("decode", f"decode-{i}", n) for i, n in enumerate(DECODE)]
    began = time.monotonic()
    proof = proof_of(StandIn(never=(DECODE[0],), honours_steering=False), expected_workers=expected, time_limit=2)
    assert time.monotonic() - began < 10
    assert not proof.ready
    assert [w.name for w in proof.missing] == ["decode-0"]
    assert [w.name for w in proof.answered if w.role == "decode"] == ["decode-1"]
    assert "no answer from decode-0" in str(proof)


def test_proof_of_a_hanging_deployment_ends_and_says_so() -> None:
    proof = proof_of(StandIn(fault="hang"), time_limit=1.5)
    assert not proof.ready
    assert proof.last_error == "2 requests still without an answer"


@pytest.mark.parametrize("error", [None, "HTTP 502 from http://127.0.0.1:8000/v1/models"])
def test_proof_names_a_frontend_that_hangs(error: str | None) -> None:
    decode = Worker("decode", "decode-0", DECODE[0])
    assert "the frontend has not answered anything" in str(Proof(False, (), (decode,), None, 19, 0, last_error=error))
    other = Proof(False, (), (decode,), None, 19, 0, last_error="HTTP 500 from http://127.0.0.1:8000/v1/models: no")
    assert "frontend" not in str(other)


def test_proof_without_worker_ids() -> None:
    expected = [Worker("prefill", "p"), Worker("decode", "d0"), Worker("decode", "d1")]
    proof = proof_of(StandIn(dynamo=False), expected_workers=expected)
    assert proof.ready
    assert (proof.told_apart, proof.answers) == (False, 2)


def test_proof_ends_at_once_where_waiting_cannot_help() -> None:
    proof = proof_of(StandIn(models=("a", "b")), time_limit=30)
    assert not proof.ready
    assert "name one" in str(proof.last_error)


def test_proof_of_nothing_listening_ends_in_time() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        proof = prove(f"127.0.0.1:{taken.getsockname()[1]}", time_limit=0.3, interval=0.05)
    assert not proof.ready
    assert "connection refused" in str(proof)


def test_cancelling_leaves_no_request_behind() -> None:
    async def go(stand_in: StandIn, work: Callable[[str], Awaitable[Any]]) -> int:
        async with serving(stand_in):
            task = asyncio.ensure_future(work(stand_in.url))
            while stand_in.in_flight < 2:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for _ in range(100):
                if not stand_in.in_flight:
                    break
                await asyncio.sleep(0.01)
            return stand_in.in_flight

    assert asyncio.run(go(StandIn(fault="hang"), lambda url: run_async(url, options=QUICK))) == 0
    assert asyncio.run(go(StandIn(fault="hang"), prove_async)) == 0
