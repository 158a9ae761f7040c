"""When a size is steady: single questions, and what chance makes of them in seeded trials."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmup.requests.rule import RoundFigures, Rule
from warmup.requests.steady import Decision, Steady, student, trend

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from simulated import Deployment, probe_trial, trial


def figures(ttft: float, *, errors: int = 0, samples: list[float] | None = None, **more: float) -> RoundFigures:
    return RoundFigures({"ttft": ttft, **more}, 4, errors, {"slowest ttft": samples or [ttft] * 4})


def feed(values: list[float], rule: Rule) -> list[Decision]:
    state = Steady(rule)
    return [state.add(figures(v)) for v in values]


def test_steady_after_a_cold_start() -> None:
    got = feed([136.0, 0.31, 0.305, 0.315, 0.31, 0.31, 0.305], Rule())
    assert got == [Decision.MORE] * 6 + [Decision.STEADY]


def test_a_fall_of_a_tenth_a_round_is_no_end() -> None:
    """Such a one was called warm after three rounds at 1.8 times its end."""
    values = [2.0 * 0.9**n for n in range(30)]
    assert set(feed(values, Rule(max_rounds=30))[:-1]) == {Decision.MORE}


def test_a_first_round_that_was_lucky_is_forgotten() -> None:
    """Seconds seen on an H200: eight requests at once met an idle worker one after another."""
    got = feed([0.037, 0.083, 0.081, 0.084, 0.085, 0.083, 0.086, 0.090, 0.084, 0.086, 0.085], Rule())
    assert Decision.STEADY in got


def test_small_differences_lie_below_the_floor() -> None:
    assert feed([0.0032, 0.0031, 0.0033, 0.0022, 0.0021, 0.0023], Rule())[-1] is Decision.STEADY
    assert feed([0.32, 0.31, 0.33, 0.22, 0.21, 0.23], Rule())[-1] is Decision.MORE


def test_growing_is_given_up_with_what_moved() -> None:
    state = Steady(Rule(window=2, max_rounds=4))
    got = [state.add(figures(v)) for v in (1.0, 1.5, 2.0, 3.0)]
    assert got == [Decision.MORE] * 3 + [Decision.GIVE_UP]
    (moved,) = state.moved()
    assert str(moved).startswith("ttft: 2.45s against 1.22s of the 2 rounds before")


def test_a_stall_behind_the_median_is_seen_and_passes() -> None:
    state = Steady(Rule())
    for _ in range(5):
        state.add(figures(0.1))
    assert state.add(figures(0.1, samples=[0.1, 0.1, 0.1, 4.0])) is Decision.MORE
    assert [m.figure for m in state.moved()] == ["slowest ttft"]
    assert [state.add(figures(0.1)) for _ in range(3)] == [Decision.MORE] * 2 + [Decision.STEADY]


def test_where_requests_scatter_a_slow_one_is_no_stall() -> None:
    state = Steady(Rule())
    got = [state.add(figures(0.5, samples=[0.2, 0.3, 0.5, 0.8, 1.3])) for _ in range(6)]
    assert got[-1] is Decision.STEADY


def test_a_cold_worker_is_seen_and_forgiven_once_warm() -> None:
    state = Steady(Rule())
    peers = {"ttft@d-0": 0.1, "ttft@d-2": 0.1}
    got = [state.add(figures(0.1, **{"ttft@d-1": v}, **peers)) for v in (0.1, 0.1, 0.1, 9.0, 9.0, 9.0)]
    assert got[-1] is Decision.MORE
    assert [m.figure for m in state.moved()] == ["ttft@d-1"]
    assert "its peers" in str(state.moved()[0])
    later = [state.add(figures(0.1, **{"ttft@d-1": 0.1}, **peers)) for _ in range(12)]
    assert later[-1] is Decision.STEADY


def test_a_size_that_is_passed_needs_one_round_without_a_stall() -> None:
    state = Steady(Rule(), passing=True)
    rounds = [figures(3.0), figures(1.0, samples=[1.0, 1.0, 9.0]), figures(0.5)]
    assert [state.add(r) for r in rounds] == [Decision.MORE, Decision.MORE, Decision.STEADY]


def test_rounds_with_errors_never_count() -> None:
    state = Steady(Rule(max_rounds=6))
    assert [state.add(figures(0.1, errors=1)) for _ in range(6)][-1] is Decision.GIVE_UP


@settings(deadline=None)
@given(st.lists(st.floats(0.0001, 1000), min_size=1, max_size=60))
def test_it_ends_whatever_comes(values: list[float]) -> None:
    got = feed([values[n % len(values)] for n in range(36)], Rule())
    assert got[-1] is not Decision.MORE


@settings(deadline=None)
@given(st.floats(0.05, 100), st.floats(1.3, 10), st.integers(3, 12))
def test_a_step_is_seen_in_both_directions(level: float, factor: float, window: int) -> None:
    low, high = [level] * window, [level * factor] * window
    short = Rule(memory=2 * window, window=window, max_rounds=2 * window)
    if factor > 1 + short.step(0.2, window) * 2:
        assert trend("ttft", low + high, short) is not None
        assert trend("ttft", high + low, short) is not None
    assert trend("ttft", low + low, short) is None


@pytest.mark.parametrize("bad", [{"window": 1}, {"window": 4, "max_rounds": 7}, {"window": 13}])
def test_impossible_rules_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="rounds"):
        Rule(**bad)


def test_student() -> None:
    """From the tables, at 99 %."""
    for freedom, t in ((4, 3.747), (6, 3.143), (10, 2.764), (22, 2.508)):
        assert student(0.99, freedom) == pytest.approx(t, rel=0.03)


@pytest.mark.parametrize(
    "deployment",
    [Deployment(), Deployment(workers=8, requests=8, jitter=0.2), Deployment(workers=1, requests=3, jitter=0.1)],
    ids=str,
)
def test_warm_by_construction_is_called_warm(deployment: Deployment) -> None:
    said = [trial(deployment, seed)[0] for seed in range(60)]
    assert sum(said) >= 57


@pytest.mark.parametrize(
    "deployment",
    [
        Deployment(above=1.0),
        Deployment(above=0.8, whole=True, jitter=0.05),
        Deployment(above=20.0, stays=0.5),
        Deployment(workers=1, requests=3, above=0.5, jitter=0.05),
    ],
    ids=str,
)
def test_a_fifth_above_its_end_is_not_called_warm(deployment: Deployment) -> None:
    said = [trial(deployment, seed) for seed in range(60)]
    assert sum(warm and above >= 0.2 for warm, above, _ in said) <= 3


def test_one_cold_worker_among_fifty_is_not_called_warm() -> None:
    assert sum(trial(Deployment(cold=1), seed)[0] for seed in range(20)) <= 1


def test_a_probe_of_a_warm_deployment_is_slow_only_where_it_is_cold() -> None:
    deployment = Deployment(workers=8, requests=8)
    assert sum(probe_trial(deployment, seed) for seed in range(20)) <= 1
    assert all(probe_trial(deployment, seed, cold=1.3) for seed in range(20))
