"""Addresses, sizes, steadiness, coverage, verdict: no network."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmup.requests.address import AddressError, parse_address
from warmup.requests.client import Answer, error_text, http_error
from warmup.requests.coverage import Coverage, Instance, Roster, Worker, make_roster
from warmup.requests.figures import first_ttfts, round_figures
from warmup.requests.prompts import Prompts
from warmup.requests.sizes import Axes, Limits, Size, Sizing, plan_sizes
from warmup.requests.steady import Bound, Decision, RoundFigures, Rule, Steady
from warmup.requests.sweep import SizeOutcome, SweepResult, requests_per_round
from warmup.requests.target import read_instances
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
        prefill_workers=st.integers(1, 8),
        decode_workers=st.integers(1, 8),
        prefill_ranks=st.integers(1, 32),
        decode_ranks=st.integers(1, 32),
    )
)
def test_sizes_stay_inside_every_limit(limits: Limits) -> None:
    sizing = Sizing()
    sizes = plan_sizes(limits, sizing).sizes
    assert 0 < len(sizes) <= 30
    assert len(set(sizes)) == len(sizes)
    room = min(n for n in (limits.context_length, limits.max_total_tokens, 10**9) if n is not None)
    for size in sizes:
        assert min(size.prompt_tokens, size.concurrency, size.output_tokens) >= 1
        assert size.prompt_tokens + size.output_tokens < max(3, room)
        assert size.concurrency <= sizing.max_concurrency
        assert size.prompt_tokens <= sizing.max_prompt_tokens
    assert {s.concurrency for s in sizes} >= {1}
    top = min(limits.decode_batches[-1], sizing.max_concurrency)
    assert top in {s.concurrency for s in sizes}, "the largest batch must be met"


def test_sizes_follow_the_flags() -> None:
    limits = Limits.from_args(
        {"chunked-prefill-size": 65536, "dp-size": 16, "enable-dp-attention": True, "context-length": 16000},
        {"cuda_graph_bs": "1 2 4 8", "max-running-requests": 4096, "dp_size": 4, "enable_dp_attention": True},
        decode_workers=2,
    )
    assert limits.chunk == 4096, "SGLang divides the chunk over the ranks of DP attention"
    assert limits.decode_batches == (1, 8, 16, 32, 64), "graphs hold a rank's batch: x 4 ranks x 2 workers"
    plan = plan_sizes(limits)
    assert {s.prompt_tokens for s in plan.sizes} == {32, 512, 4096, 8192}
    assert {s.concurrency for s in plan.sizes if s.output_tokens == 64} == {1, 8, 16, 32, 64}
    assert plan.notes == ("2 sizes of more than 131072 prompt tokens at once left out",)


def test_capping_is_told() -> None:
    plan = plan_sizes(Limits(cuda_graph_max_bs=256, decode_ranks=72, context_length=4096))
    assert max(s.concurrency for s in plan.sizes) == 512
    assert any("concurrency held at 512; the deployment takes 18432" in n for n in plan.notes)
    assert any("4096 tokens" in n for n in plan.notes)


def test_axes_by_hand_are_crossed() -> None:
    plan = plan_sizes(Limits(), Sizing(Axes((100, 7), (3,), (5, 9))))
    assert [s.key for s in plan.sizes] == ["p7 c3 o5", "p100 c3 o5", "p7 c3 o9", "p100 c3 o9"]
    with pytest.raises(ValueError, match=r"outputs: 0 is below 1"):
        Axes(outputs=(0,))


def test_nonsense_flags_are_unknown() -> None:
    odd = {"chunked-prefill-size": -1, "cuda-graph-bs": {"a": 1}, "context-length": "x"}
    assert Limits.from_args(odd) == Limits()


def test_prompts_are_exact_and_unlike_each_other() -> None:
    prompts = Prompts()
    made = [prompts.make(50) for _ in range(200)]
    assert all(len(p) == 50 for p in made)
    assert len({tuple(p[:8]) for p in made}) == 200
    assert Prompts(cacheable=True).make(9) == Prompts(cacheable=True).make(9)


def test_text_prompts_learn_their_length() -> None:
    prompts = Prompts(text=True)
    one = prompts.make(1000)
    assert isinstance(one, str)
    prompts.learn(one, 2 * len(one.split()))
    assert len(str(prompts.make(1000)).split()) == pytest.approx(500, abs=2)


def figures(ttft: float, *, errors: int = 0, **more: float) -> RoundFigures:
    return RoundFigures({"ttft": ttft, **more}, 4, errors)


def feed(values: list[float], rule: Rule) -> list[Decision]:
    state = Steady(rule)
    return [state.add(figures(v)) for v in values]


def test_steady_after_a_cold_start() -> None:
    got = feed([136.0, 0.31, 0.30, 0.32], Rule())
    assert got == [Decision.MORE] * 3 + [Decision.STEADY]


def test_a_first_round_that_was_lucky_is_forgotten() -> None:
    """Seconds seen on an H200: eight requests at once met an idle worker one after another."""
    got = feed([0.037, 0.083, 0.081, 0.084, 0.085, 0.083, 0.086, 0.090], Rule())
    assert got.index(Decision.STEADY) == 6


def test_small_differences_lie_below_the_floor() -> None:
    assert feed([0.001, 0.002, 0.003], Rule())[-1] is Decision.STEADY


def test_growing_is_given_up_with_what_moved() -> None:
    state = Steady(Rule(window=3, max_rounds=4))
    got = [state.add(figures(v)) for v in (1.0, 1.5, 2.0, 3.0)]
    assert got == [Decision.MORE] * 3 + [Decision.GIVE_UP]
    (moved,) = state.moved()
    assert str(moved) == "ttft: 3.00 s in the last rounds, best 1.00 s, allowed 1.25 s"


def test_a_stall_behind_the_median_is_seen() -> None:
    state = Steady(Rule())
    for _ in range(2):
        state.add(figures(0.1, **{"slowest ttft": 0.12}))
    assert state.add(figures(0.1, **{"slowest ttft": 4.0})) is Decision.MORE
    assert [m.figure for m in state.moved()] == ["slowest ttft"]


def test_a_cold_worker_is_seen_and_forgiven_once_warm() -> None:
    state = Steady(Rule())
    cold = {"ttft@decode-1": 9.0}
    warm = {"ttft@decode-1": 0.1}
    assert [state.add(figures(0.1, **w)) for w in ({}, cold, {})][-1] is Decision.STEADY
    state = Steady(Rule())
    got = [state.add(figures(0.1, **w)) for w in (warm, {}, cold, warm, warm, warm)]
    assert got == [Decision.MORE] * 5 + [Decision.STEADY]


def test_rounds_with_errors_never_count() -> None:
    state = Steady(Rule(max_rounds=3))
    assert [state.add(figures(0.1, errors=1)) for _ in range(3)][-1] is Decision.GIVE_UP


@settings(deadline=None)
@given(st.lists(st.floats(0.0001, 1000), min_size=1, max_size=30), st.floats(0, 2), st.floats(0, 1))
def test_steady_means_within_the_bound_of_the_best(values: list[float], tolerance: float, floor: float) -> None:
    bound = Bound(tolerance, floor)
    state = Steady(Rule(ttft=bound, max_rounds=12))
    for index, value in enumerate(values):
        decision = state.add(figures(value))
        seen = values[: index + 1]
        agree = all(v <= bound.allowed(min(seen[-6:])) for v in seen[-3:]) and len(seen) >= 3
        assert (decision is Decision.STEADY) == agree
        assert decision is not Decision.MORE or len(seen) < 12, "it must end"


@pytest.mark.parametrize("bad", [{"window": 1}, {"window": 4, "max_rounds": 3}, {"window": 7}])
def test_impossible_rules_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="rounds"):
        Rule(**bad)


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
