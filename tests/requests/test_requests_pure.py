"""Addresses, sizes, prompts, coverage, verdict: no network."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmup.requests.address import AddressError, parse_address
from warmup.requests.answer import Answer
from warmup.requests.coverage import Coverage, Instance, Roster, Worker, make_roster
from warmup.requests.errors import error_text, http_error
from warmup.requests.figures import first_ttfts, round_figures
from warmup.requests.flags import NAMES, Flags
from warmup.requests.http1 import BadAnswer, Reply
from warmup.requests.limits import Limits
from warmup.requests.outcome import SizeOutcome, SweepResult
from warmup.requests.probe import expectation, plan_probes
from warmup.requests.prompts import WORDS, Prompts
from warmup.requests.rule import RoundFigures, Rule
from warmup.requests.sizes import Axes, Size, Sizing, plan_sizes
from warmup.requests.sweep import requests_per_round
from warmup.requests.target import read_instances, read_metrics
from warmup.requests.verdict import judge

SIZE = Size(32, 1, 8)


def test_importing_stays_light() -> None:
    code = "import sys, warmup.requests; print({'aiohttp', 'rich', 'yaml'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("10.1.2.3", "http://10.1.2.3:8000"),
        ("head-3:9000", "http://head-3:9000"),
        ("http://head:81/v1/", "http://head:81"),
        ("https://serve.example", "https://serve.example:443"),
        ("[fd00::2]:8001", "http://[fd00::2]:8001"),
        ("[fd00::2]", "http://[fd00::2]:8000"),
        ("fd00::2", "http://[fd00::2]:8000"),
        (" head ", "http://head:8000"),
    ],
)
def test_address_forms(address: str, url: str) -> None:
    assert parse_address(address) == url


@pytest.mark.parametrize("address", ["", "ftp://h", "host:port", "host:99999", "a b", "http://", "u@h:1", "h:0"])
def test_wrong_addresses_say_so(address: str) -> None:
    with pytest.raises(AddressError, match="address"):
        parse_address(address)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    with contextlib.suppress(AddressError):
        assert parse_address(text).startswith(("http://", "https://"))


counts = st.none() | st.integers(1, 200_000)


@settings(deadline=None)
@given(
    st.builds(
        Limits,
        chunked_prefill_size=counts,
        max_running_requests=counts,
        cuda_graph_bs=st.lists(st.integers(1, 1024), max_size=40).map(tuple),
        cuda_graph_max_bs=counts,
        context_length=counts,
        max_total_tokens=counts,
        prefill_workers=st.integers(1, 100),
        decode_workers=st.integers(1, 100),
        prefill_ranks=st.integers(1, 32),
        decode_ranks=st.integers(1, 32),
        page_size=st.none() | st.integers(1, 128),
        prefix_cache=st.none() | st.booleans(),
    )
)
def test_sizes_stay_inside_every_limit(limits: Limits) -> None:
    sizing = Sizing()
    sizes = plan_sizes(limits, sizing).sizes
    assert 0 < len(sizes) <= 30
    assert len({s.key for s in sizes}) == len(sizes)
    room = min(n for n in (limits.context_length, limits.max_total_tokens, 10**9) if n is not None)
    for size in sizes:
        assert min(size.prompt_tokens, size.concurrency, size.output_tokens) >= 1
        assert size.prompt_tokens + size.output_tokens < max(3, room)
        assert size.concurrency <= max(sizing.max_ramp if size.levels else sizing.max_concurrency, 100)
        assert size.prompt_tokens <= sizing.max_prompt_tokens + 48
        assert size.cached_tokens < size.prompt_tokens
        assert limits.prefix_cache is not False or not size.cached_tokens
        assert size.levels or size.concurrency >= limits.workers_each, "workers are met side by side"
        outputs = [size.output_of(i) for i in {0, size.concurrency // 3, size.concurrency - 1}]
        assert max(outputs) == size.output_tokens
        assert min(outputs) >= 1
    top = min(limits.decode_top, sizing.max_concurrency)
    assert max(s.concurrency for s in sizes) >= min(top, (room - 1) * limits.decode_workers // 200), "the largest batch"


DSR1 = Limits.from_args(
    {"chunked-prefill-size": 524288, "dp-size": 16, "enable-dp-attention": True, "disable-radix-cache": True},
    {"cuda-graph-bs-decode": 256, "dp-size": 32, "enable-dp-attention": True},
)


def test_sizes_reach_the_graphs_of_every_rank() -> None:
    """A graph of 256 on each of 32 ranks, by the name that the flag has had since 0.5.14."""
    assert (DSR1.chunk, DSR1.decode_top) == (32768, 8192)
    plan = plan_sizes(DSR1)
    (ramp,) = (s for s in plan.sizes if s.levels)
    assert ramp.concurrency == 8192
    alive = [sum(ramp.output_of(i) > step for i in range(8192)) for step in range(ramp.output_tokens)]
    assert {n // 32 for n in alive} >= {1, 2, 4, *range(8, 257, 8)}, "every batch that SGLang captures"
    assert max(s.concurrency for s in plan.sizes if not s.levels) == 1024
    assert "concurrency held at 1024 where times are compared; decode takes 8192" in plan.notes


def test_sizes_hold_what_users_send() -> None:
    limits = Limits.from_args({"chunked-prefill-size": 8192, "page-size": 64}, {"cuda-graph-max-bs": 32})
    sizes = plan_sizes(limits).sizes
    assert {s.prompt_tokens for s in sizes} >= {1, 16, 48, 1024, 8192, 8192 + 48, 16384}, "short, and over the border"
    assert {(s.cached_tokens, s.prompt_tokens - s.cached_tokens) for s in sizes if s.cached_tokens} == {
        (64, 16), (4096, 48),
    }, "whole pages"  # fmt: skip
    assert max(s.output_tokens for s in sizes) == 256
    assert not any(s.cached_tokens for s in plan_sizes(DSR1).sizes), "no radix cache, no cached prefix"


def test_sizes_follow_the_flags() -> None:
    limits = Limits.from_args(
        {"chunked-prefill-size": 65536, "dp-size": 16, "enable-dp-attention": True, "context-length": 16000},
        {"cuda_graph_bs": "1 2 4 8", "max-running-requests": 4096, "dp_size": 4, "enable_dp_attention": True},
        decode_workers=2,
    )
    assert limits.chunk == 4096, "SGLang divides the chunk over the ranks of DP attention"
    assert limits.decode_batches == (1, 8, 16, 32, 64), "graphs hold a rank's batch: x 4 ranks x 2 workers"
    (ramp,) = (s for s in plan_sizes(limits).sizes if s.levels)
    assert ramp.levels == (64, 32, 16, 8, 1)


def test_a_deployment_that_serves_is_met_by_a_request_a_rank() -> None:
    sizing = Sizing(max_concurrency=DSR1.ranks_each, max_ramp=1, compare=False)
    sizes = plan_sizes(DSR1, sizing).sizes
    assert all(s.passing and not s.levels and s.concurrency <= 32 for s in sizes)
    assert {s.prompt_tokens for s in sizes} == {s.prompt_tokens for s in plan_sizes(DSR1).sizes}


def test_a_frontend_of_dynamo_tells_its_workers_limits() -> None:
    lines = (
        '# TYPE dynamo_frontend_model_max_num_seqs gauge\ndynamo_frontend_model_context_length{model="tiny"} 0',
        'dynamo_frontend_model_kv_cache_block_size{model="tiny"} 16\ndynamo_frontend_model_max_num_seqs{model="x"} 4',
        'dynamo_frontend_model_max_num_seqs{model="tiny"} 24\ndynamo_frontend_model_total_kv_blocks{model="tiny"} 100',
    )
    found = read_metrics("\n".join(lines), "tiny")
    assert found == Limits(max_running_requests=24, max_total_tokens=1600, page_size=16)
    assert read_metrics("", "tiny") == Limits()


@pytest.mark.parametrize("name", sorted({alias for names in NAMES.values() for alias in names}))
def test_every_name_of_a_flag_is_read(name: str) -> None:
    canonical = next(c for c, names in NAMES.items() if name in names)
    for spelled in (name, name.replace("-", "_"), f"--{name}"):
        assert Flags({spelled: 7}).value(canonical) == 7


@pytest.mark.parametrize(
    ("args", "ranks", "graphs", "top"),
    [
        ({"attn-dp-size": 8, "cuda-graph-bs-decode": [1, 16]}, 8, (1, 16), None),
        ({"attention-data-parallel-size": 4, "cuda-graph-max-bs-decode": 64}, 4, (), 64),
        ({"dp": 2, "enable-dp-attention": "true", "cuda-graph-bs": "4, 2"}, 2, (2, 4), None),
        ({"dp-size": 2, "enable-dp-attention": False}, 1, (), None),
        ({"cuda-graph-config": {"decode": {"bs": [8, 4], "max_bs": 8}, "prefill": {"bs": [512]}}}, 1, (4, 8), 8),
    ],
)
def test_renamed_flags(args: dict[str, object], ranks: int, graphs: tuple[int, ...], top: int | None) -> None:
    flags = Flags(args)
    assert (flags.attention_ranks, flags.graph_batches, flags.largest_graph) == (ranks, graphs, top)


def test_capping_is_told() -> None:
    plan = plan_sizes(Limits(cuda_graph_max_bs=256, decode_ranks=72, context_length=4096))
    assert max(s.concurrency for s in plan.sizes) == 8192
    assert "decode batches are met up to 8192 requests in flight; the largest takes 18432" in plan.notes
    assert any("4096 tokens" in n for n in plan.notes)
    assert any("decode takes at once: 64 assumed" in n for n in plan_sizes(Limits()).notes)


def test_axes_by_hand_are_crossed() -> None:
    plan = plan_sizes(Limits(), Sizing(Axes((100, 7), (3,), (5, 9))))
    assert [s.key for s in plan.sizes] == ["p7 c3 o5", "p100 c3 o5", "p7 c3 o9", "p100 c3 o9"]
    with pytest.raises(ValueError, match=r"outputs: 0 is below 1"):
        Axes(outputs=(0,))
    many = plan_sizes(Limits(prefill_workers=5), Sizing(Axes((7,), (1, 8), (5,))))
    assert [s.key for s in many.sizes] == ["p7 c5 o5", "p7 c8 o5"]
    assert many.notes == ("concurrency raised to 5: one request for each worker, side by side",)


def test_nonsense_flags_are_unknown() -> None:
    odd = {"chunked-prefill-size": -1, "cuda-graph-bs": {"a": 1}, "context-length": "x", "cuda-graph-config": "full"}
    assert Limits.from_args(odd) == Limits()


def one_each(text: str) -> int:
    return len(text.split())


def with_a_beginning(text: str) -> int:
    return 1 + len(text.split())


@pytest.mark.parametrize("count", [one_each, with_a_beginning, len])
def test_prompts_are_as_long_as_asked_whatever_the_vocabulary(count: Callable[[str], int]) -> None:
    prompts = Prompts()
    for wanted in (2, 16, 48, 77, 4096, 32768):
        prompt = prompts.make(wanted)
        prompts.learn(prompt, count(prompt.text))
        if wanted > 16:
            assert count(prompt.text) == wanted
        assert set(prompt.text.rstrip("s").split()) <= {*WORDS, *(w.rstrip("s") for w in WORDS)}, "plain words"


def test_prompts_are_unlike_each_other_but_for_what_is_cached() -> None:
    prompts = Prompts()
    texts = [prompts.make(50).text for _ in range(200)]
    assert len({t[:32] for t in texts}) == 200
    cached = [prompts.make(200, 150).text.split() for _ in range(50)]
    assert {len(t) for t in cached} == {200}
    assert len({tuple(t[:150]) for t in cached}) == 1
    assert len({tuple(t[150:158]) for t in cached}) == 50
    assert prompts.make(90, 80).text.split()[:80] == cached[0][:80]
    assert Prompts(cacheable=True).make(9) == Prompts(cacheable=True).make(9)


PIECES = [b"data: {}\n\n", b"\r\n0\r\n\r\n", b"x" * 300]


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=60), st.booleans())
def test_an_answer_is_the_same_however_its_bytes_are_cut(cuts: list[int], chunked: bool) -> None:
    body = b"".join(PIECES)
    if chunked:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        data = head + b"".join(b"%x;a=b\r\n%b\r\n" % (len(p), p) for p in PIECES) + b"0\r\n\r\n"
    else:
        data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    reply, at = Reply(), 0
    for number, cut in enumerate([*cuts, len(data)]):
        piece, at = data[at : at + cut], at + cut
        if piece:
            assert reply.take(number, piece) == (at >= len(data))
    assert (reply.status, reply.body, reply.keep) == (200, body, True)
    assert [t for t, _ in reply.pieces] == sorted(t for t, _ in reply.pieces)


def test_what_is_no_http_is_said() -> None:
    with pytest.raises(BadAnswer, match="SSH-2"):
        Reply().take(0, b"SSH-2.0-OpenSSH\r\n\r\n")
    with pytest.raises(BadAnswer, match="chunk"):
        Reply().take(0, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
    until_closed = Reply()
    assert not until_closed.take(0, b"HTTP/1.0 500 Oh\r\n\r\nno")
    assert until_closed.end()
    assert (until_closed.body, until_closed.keep) == (b"no", False)


INSTANCES = (
    Instance(1, "prefill", "10.0.0.1:9001"),
    Instance(2, "prefill", "10.0.0.2:9001"),
    Instance(3, "backend", "10.0.0.3:9001"),
    Instance(4, "backend", "10.0.0.4:9001"),
)


def test_roster_from_what_is_registered() -> None:
    roster = make_roster(None, INSTANCES)
    assert [(w.role, w.name) for w in roster.expected][::3] == [
        ("prefill", "prefill@10.0.0.1:9001"),
        ("decode", "decode@10.0.0.4:9001"),
    ]
    (only,) = make_roster(None, INSTANCES[2:3]).expected
    assert only.role == "agg", "a backend without any prefill serves alone"


def test_roster_names_by_address_then_id_then_role() -> None:
    expected = [
        Worker("prefill", "p0", address="10.0.0.2:9001"),
        Worker("prefill", "p1"),
        Worker("decode", "d0", instance_id=4),
        Worker("decode", "d1", address="10.0.0.9:9001"),
    ]
    roster = make_roster(expected, INSTANCES)
    assert [w.instance_id for w in roster.expected] == [2, 1, 4, None]
    assert [w.name for w in roster.unregistered] == ["d1"]
    assert [w.instance_id for w in roster.extra] == [3]


def test_a_restarted_worker_is_found_by_its_address() -> None:
    expected = [Worker("decode", "d0", instance_id=77, address="10.0.0.3:9001")]
    (worker,) = make_roster(expected, INSTANCES).expected
    assert worker.instance_id == 3


def test_only_workers_are_read_from_the_listing() -> None:
    entries = [
        {"component": "backend", "endpoint": "generate", "instance_id": 2**64 - 1, "transport": {"tcp": "h:1/a/b"}},
        {"component": "backend", "endpoint": "router-discovery", "instance_id": 5, "transport": {}},
        {"component": "prefill", "endpoint": "generate", "instance_id": 6, "transport": {"nats_tcp": "x"}},
        "nonsense",
        {"endpoint": "generate"},
    ]
    assert read_instances(entries) == (Instance(2**64 - 1, "backend", "h:1"), Instance(6, "prefill", None))


def test_coverage_says_who_is_missing_and_asks_for_them() -> None:
    coverage = Coverage(make_roster(None, INSTANCES))
    assert coverage.missing("s") == (), "nobody can be missed before answers name their workers"
    coverage.met("s", [(1, 3), (1, 3)])
    assert [w.instance_id for w in coverage.missing("s")] == [2, 4]
    steers = coverage.steer("s", 4, rounds=1)
    assert [s.prefill_id for s in steers] == [2, 2, None, None], "an even share, not the whole round"
    assert [s.decode_id for s in steers] == [4, 4, None, None]
    assert [w.instance_id for w in coverage.missing("t")] == [1, 2, 3, 4], "each size has its own count"


def test_coverage_without_ids_misses_nobody() -> None:
    coverage = Coverage(Roster((Worker("prefill", "p"), Worker("decode", "d"))))
    coverage.met("s", [(None, None)])
    assert coverage.told_apart is False
    assert coverage.missing("s") == ()


def test_an_aggregated_worker_is_one_worker() -> None:
    coverage = Coverage(make_roster(None, [Instance(8, "backend")]))
    assert [w.role for w in coverage.workers_of(8, 8)] == ["agg"]
    assert [w.role for w in coverage.workers_of(9, 9)] == ["agg"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.sampled_from([3, 4])), max_size=12), st.integers(1, 20))
def test_steering_never_asks_for_somebody_met(pairs: list[tuple[int, int]], count: int) -> None:
    coverage = Coverage(make_roster(None, INSTANCES))
    coverage.met("s", pairs)
    met = {n for pair in pairs for n in pair}
    steers = coverage.steer("s", count, rounds=1)
    assert len(steers) == count
    assert not {s.prefill_id for s in steers} & met
    assert not {s.decode_id for s in steers} & met


def test_requests_per_round_can_meet_everybody() -> None:
    five = Roster(tuple(Worker("decode", f"d{i}") for i in range(5)))
    assert requests_per_round(Size(1, 1, 1), five) == 5
    assert requests_per_round(Size(1, 4, 1), five) == 8
    assert requests_per_round(Size(1, 64, 1), five) == 64
    assert requests_per_round(Size(1, 1, 1), Roster(())) == 3


def whole(index: int, ttft: float, prefill: int, decode: int) -> Answer:
    return Answer(index=index, ttft=ttft, itl=0.01, pause=0.02, prefill_id=prefill, decode_id=decode)


def test_figures_by_worker_and_the_first_wave() -> None:
    coverage = Coverage(make_roster(None, INSTANCES))
    answers = [whole(0, 9.0, 1, 3), whole(1, 0.2, 1, 4), whole(2, 0.1, 2, 3), Answer(index=3, error="x")]
    got = round_figures(answers, coverage)
    assert (got.requests, got.errors) == (4, 1)
    assert got.values["ttft"] == 0.2
    assert got.values["slowest ttft"] == 9.0
    assert got.values["ttft@prefill@10.0.0.1:9001"] == pytest.approx(4.6)
    assert "itl@prefill@10.0.0.1:9001" not in got.values, "the time between tokens is decode's"
    first = first_ttfts(answers, coverage, 1)
    assert first[None] == 9.0
    assert first["decode@10.0.0.4:9001"] == 0.2


def test_any_error_fails() -> None:
    result = SweepResult([SizeOutcome(SIZE, "warm")], errors={"HTTP 500": 2}, requests=9)
    verdict = judge(result)
    assert (verdict.state, verdict.reasons) == ("failed", ("HTTP 500 (2 times)",))


def test_an_unmet_and_an_unregistered_worker_fail() -> None:
    worker = Worker("decode", "decode-3")
    result = SweepResult([SizeOutcome(SIZE, "not met", missing=(worker,))], requests=9)
    assert judge(result).reasons == ("decode-3 (decode) answered no request at p32 c1 o8",)
    assert judge(SweepResult(requests=1), [worker]).state == "failed"


def test_time_running_out_is_not_warm() -> None:
    result = SweepResult([SizeOutcome(SIZE, "cut short")], not_run=(SIZE,), requests=1, stopped="time limit")
    assert judge(result).state == "not steady"
    assert judge(SweepResult([SizeOutcome(SIZE, "warm")], requests=1)).warm


def swept(tokens: int, ttft: float, **more: int) -> SizeOutcome:
    figures = RoundFigures({"ttft": ttft}, 3, samples={"slowest ttft": [ttft, ttft, 1.2 * ttft]})
    return SizeOutcome(Size(tokens, 1, 8, **more), "warm", [figures] * 6)


def test_a_probe_is_held_against_prompts_of_its_length() -> None:
    outcomes = [swept(10, 0.1), swept(110, 0.2), swept(60, 9.0, cached_tokens=32)]
    expected = expectation(outcomes, Rule())
    assert expected is not None
    assert [round(expected.ttft(n), 3) for n in (1, 10, 60, 110, 500)] == [0.1, 0.1, 0.15, 0.2, 0.2]
    assert expected.allowed(110) == pytest.approx(0.3)
    jittery = [
        SizeOutcome(
            o.size, "warm", [RoundFigures({"ttft": 0.1}, 4, samples={"slowest ttft": [0.07, 0.1, 0.13, 0.25]})] * 6
        )
        for o in outcomes
    ]
    wide = expectation(jittery, Rule())
    assert wide is not None
    assert wide.allowed(10) > 0.21, "as slow as the slowest of the steady rounds is no sign of cold"


def test_probes_are_what_the_sweep_had_not() -> None:
    limits = Limits(chunked_prefill_size=8192, page_size=16)
    sizes = plan_sizes(limits).sizes
    probes = plan_probes(sizes, limits)
    assert len(probes) == len(set(probes)) == 20
    assert not {p.prompt_tokens for p in probes} & {s.prompt_tokens for s in sizes}
    assert sum(p.prompt_tokens < 64 for p in probes) >= 5
    cached = [p for p in probes if p.cached_tokens]
    assert len(cached) == 6
    assert all(p.cached_tokens % 16 == 0 and p.cached_tokens < p.prompt_tokens for p in cached)
    off = Limits(chunked_prefill_size=8192, prefix_cache=False)
    assert not any(p.cached_tokens for p in plan_probes(plan_sizes(off).sizes, off))
    assert len(plan_probes([Size(3, 1, 1)], off)) == 1, "a small sweep leaves little to probe"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"message":"Model not found","type":"Not Found","code":404}', "Model not found"),
        (b'{"error":{"message":"too long"}}', "too long"),
        (b'{"object":"error","message":"no"}', "no"),
        (b'{"detail":[{"loc":1}]}', '[{"loc": 1}]'),
        (b"<h1>Bad\n Gateway</h1>", "<h1>Bad Gateway</h1>"),
    ],
)
def test_every_error_shape_is_one_line(body: bytes, said: str) -> None:
    assert http_error(404, body, "/x") == f"HTTP 404 from /x: {said}"


def test_an_empty_404_is_explained() -> None:
    assert "no model is served there" in http_error(404, b"", "/x")
    assert error_text({"error": "plain"}) == "plain"


def test_names_are_those_of_the_catalogue() -> None:
    """The sweep has a table of its own, since it must not need the launcher: no rename is in one of the two alone."""
    from launcher.catalog.renames import renames

    known = {name for names in NAMES.values() for name in names}
    assert [r.old for r in renames().values() if known & set(r.becomes) and r.old not in known] == []
