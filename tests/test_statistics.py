from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from harness import statistics
from harness.statistics import Look, Verdict, combine, judge, median_interval
from tests.noise import Array, ar1

ALPHA, MARGIN = 0.05, 0.02
finite = st.floats(-3, 3)


@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.01, 0.05 / 90])
def test_the_interval_is_the_narrowest_exact_one(alpha: float) -> None:
    for count in range(1, 200):
        interval = median_interval(np.arange(1.0, count + 1), alpha)
        coin = scipy.stats.binom(count, 0.5)
        assert (interval is None) == (2 * coin.cdf(0) > alpha)
        if interval is None:
            continue
        rank = round(interval[0])
        assert sum(interval) == count + 1
        assert 2 * coin.cdf(rank - 1) <= alpha * (1 + 1e-9)
        assert 2 * coin.cdf(rank) > alpha, "a narrower one would do"


def test_too_few_values_have_no_interval() -> None:
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.05) is None
    assert median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0], 0.05) == (1.0, 6.0)
    assert median_interval([], 0.5) is None
    eight = np.arange(float(statistics.FIRST_LOOK))
    assert median_interval(eight, 0.01) == (0.0, 7.0)


def test_looks_are_taken_at_doublings_and_at_the_end() -> None:
    assert statistics.look_rounds(7) == []
    assert statistics.look_rounds(8) == [8]
    assert statistics.look_rounds(9) == [8, 9]
    assert statistics.look_rounds(64) == [8, 16, 32, 64]
    assert statistics.look_rounds(100) == [8, 16, 32, 64, 100]


def test_each_look_is_held_to_its_level_and_the_levels_sum_to_alpha() -> None:
    # Far from 1 and alternating: one round a value, all of them independent.
    values = 1.0 + 1e-3 * np.resize([1.0, -1.0], 64) * np.arange(64)
    spent = 0.0
    for number in range(1, 500):
        level = ALPHA / (number * (number + 1))
        seen = statistics.look(values, number, ALPHA)
        expected = median_interval(values, level)
        assert seen is not None
        assert expected == (seen.low, seen.high)
        spent += level
    assert spent < ALPHA
    assert spent == pytest.approx(ALPHA * (1 - 1 / 500))


def test_the_last_look_counts_its_predecessors() -> None:
    values = 1.0 + 1e-3 * np.resize([1.0, -1.0], 100) * np.arange(100)
    seen = statistics.last_look(values, ALPHA)
    assert seen is not None
    assert (seen.number, seen.rounds, seen.batch) == (5, 100, 1)
    assert (seen.low, seen.high) == median_interval(values, ALPHA / 30)
    assert statistics.last_look(values[:7], ALPHA) is None


def _alternating(size: int, middle: float, noise: float = 1e-3) -> Array:
    return middle + noise * np.resize([1.0, -1.0], size)


def test_one_round_is_a_value_for_a_large_effect() -> None:
    for middle in (math.log(1.2), -math.log(1.2)):
        assert statistics.batch_length(_alternating(8, middle)) == 1
    assert statistics.batch_length(_alternating(512, math.log(1.1))) > 1


def test_noise_as_large_as_the_effect_is_batched() -> None:
    assert statistics.batch_length(_alternating(64, 0.4, noise=0.01)) == 1
    assert statistics.batch_length(_alternating(64, 0.4, noise=0.2)) > 1


@pytest.mark.parametrize(("rounds", "length"), [(16, 4), (128, 4), (256, 8), (4096, 128)])
def test_near_one_a_value_takes_four_rounds_or_a_thirty_second(rounds: int, length: int) -> None:
    assert statistics.batch_length(_alternating(rounds, 0.0)) == length


def test_correlated_rounds_make_longer_batches() -> None:
    random = np.random.default_rng(0)
    lengths = [statistics.batch_length(ar1(rho, 512, random)) for rho in (0.0, 0.5, 0.8)]
    assert lengths[0] == 16
    assert lengths[2] > lengths[0]
    # The correlation of batch means that this leaves, in a long series.
    kept = statistics.batch_medians(ar1(0.8, 200_000, random), lengths[2])
    assert abs(float(np.corrcoef(kept[1:], kept[:-1])[0, 1])) < 0.15


def test_the_interval_of_single_rounds_is_widened_for_the_correlation_that_they_allow() -> None:
    random = np.random.default_rng(1)
    correlated = 1.0 + 0.05 * ar1(0.8, 512, random)
    independent = 1.0 + 0.05 * random.normal(size=512)
    assert statistics.batch_length(correlated) == 1
    assert statistics.widening(correlated) == pytest.approx(3.0)
    assert statistics.widening(independent) < 1.3
    assert statistics.widening(independent[:8]) == pytest.approx(3.0)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.3, 0.5, 0.8])
def test_autocorrelation_finds_rho_whatever_the_outliers(rho: float) -> None:
    values = ar1(rho, 50_000, np.random.default_rng(2))
    assert statistics.autocorrelation(values) == pytest.approx(rho, abs=0.03)
    values[::997] += 1e6
    assert statistics.autocorrelation(values) == pytest.approx(rho, abs=0.03)


def test_autocorrelation_of_nothing_is_zero() -> None:
    assert statistics.autocorrelation([1.0, 2.0]) == 0.0
    assert statistics.autocorrelation([1.0] * 20) == 0.0


def test_batch_medians_leave_out_the_incomplete_last() -> None:
    assert statistics.batch_medians([1.0, 9.0, 2.0, 4.0, 4.0, 5.0, 7.0], 3).tolist() == [2.0, 4.0]


def test_log_ratios_pair_rounds() -> None:
    found = statistics.log_ratios([2.0, 6.0, 5.0], [1.0, 2.0])
    assert found == pytest.approx([math.log(2), math.log(3)])


TRUTH: list[tuple[float, float, float, Verdict]] = [
    (-0.1, -0.2, -0.01, "faster"),
    (-0.1, -0.2, 0.01, "undecided"),
    (-0.01, -0.2, -0.005, "undecided"),  # leaves out 0, but the estimate is inside the margin
    (-0.01, -0.015, -0.005, "same"),
    (0.1, 0.01, 0.2, "slower"),
    (0.1, -0.01, 0.2, "undecided"),
    (0.0, -0.01, 0.01, "same"),
    (0.0, -0.01, 0.03, "undecided"),
    (0.0, -0.03, 0.01, "undecided"),
]


@pytest.mark.parametrize(("estimate", "low", "high", "verdict"), TRUTH)
def test_verdicts(estimate: float, low: float, high: float, verdict: Verdict) -> None:
    assert judge(estimate, low, high, MARGIN) == verdict


@given(values=st.tuples(finite, finite, finite), margin=st.floats(0.001, 0.5))
def test_verdicts_exclude_each_other_and_turn_round(
    values: tuple[float, float, float], margin: float
) -> None:
    low, estimate, high = sorted(values)
    edge = math.log1p(margin)
    holds: dict[str, bool] = {
        "faster": high < 0 and estimate < -edge,
        "slower": low > 0 and estimate > edge,
        "same": -edge < low and high < edge,
    }
    true = [name for name, held in holds.items() if held]
    assert len(true) <= 1
    assert judge(estimate, low, high, margin) == (true[0] if true else "undecided")
    turned = {"faster": "slower", "slower": "faster"}
    verdict = judge(estimate, low, high, margin)
    assert judge(-estimate, -high, -low, margin) == turned.get(verdict, verdict)


def _look(estimate: float, low: float, high: float) -> Look:
    return Look(1, 64, 1, estimate, low, high)


def test_launches_combine_into_the_hull() -> None:
    found = combine([_look(-0.1, -0.2, -0.05), _look(-0.3, -0.4, -0.25)], MARGIN)
    assert found is not None
    assert found.estimate == pytest.approx(-0.2)
    assert (found.low, found.high) == (-0.4, -0.05)
    assert found.verdict == "faster"
    assert combine([], MARGIN) is None


def test_launches_that_disagree_are_undecided() -> None:
    apart = [_look(-0.3, -0.4, -0.2), _look(0.3, 0.2, 0.4)]
    near = [_look(0.05, 0.012, 0.06), _look(0.0, -0.001, 0.001)]
    # All inside the margin as a whole, were it asked; its launches have said two things.
    for looks in (apart, near):
        found = combine(looks, MARGIN)
        assert found is not None
        assert found.verdict == "undecided"
    inside = [_look(0.025, 0.001, 0.03), _look(0.024, 0.015, 0.0195)]
    found = combine(inside, MARGIN)
    assert found is not None
    assert judge(found.estimate, found.low, found.high, MARGIN) == "slower"
    assert found.verdict == "slower"
    mixed = combine([_look(0.04, 0.001, 0.05), _look(0.01, 0.001, 0.015)], MARGIN)
    assert mixed is not None
    assert judge(mixed.estimate, mixed.low, mixed.high, MARGIN) == "slower"
    assert mixed.verdict == "undecided"


def test_one_undecided_launch_does_not_hide_a_hull_that_decides() -> None:
    found = combine([_look(0.05, 0.04, 0.06), _look(0.03, 0.01, 0.08)], MARGIN)
    assert found is not None
    assert found.verdict == "slower"
    wide = combine([_look(0.05, 0.04, 0.06), _look(0.03, -0.01, 0.08)], MARGIN)
    assert wide is not None
    assert wide.verdict == "undecided"


def test_rounds_that_would_decide_grow_with_the_square_of_the_width() -> None:
    # Inside the margin of 0.0198: the interval must shrink from 0.04 to 0.0098, 16.7 times.
    assert statistics.rounds_to_decide(_look(0.01, -0.03, 0.05), MARGIN) == pytest.approx(
        64 * (0.04 / (math.log(1.02) - 0.01)) ** 2, abs=1
    )
    # Beyond it: from 0.2 to below 0.1.
    assert statistics.rounds_to_decide(_look(0.1, -0.1, 0.3), MARGIN) == 64 * 4
    assert statistics.rounds_to_decide(_look(0.1, -0.01, 0.15), MARGIN) == 64 * 2


def test_a_race_with_the_rounds_it_asked_for_is_decided() -> None:
    random = np.random.default_rng(5)
    decided = tried = 0
    for _ in range(100):
        first = statistics.last_look(0.05 * random.normal(size=128), ALPHA)
        assert first is not None
        if statistics.judge(first.estimate, first.low, first.high, MARGIN) != "undecided":
            continue
        tried += 1
        rounds = min(statistics.rounds_to_decide(first, MARGIN), 8192)
        # Twice as many: the estimate of 64 rounds is itself only roughly known.
        then = statistics.last_look(0.05 * random.normal(size=2 * rounds), ALPHA)
        assert then is not None
        decided += statistics.judge(then.estimate, then.low, then.high, MARGIN) == "same"
    assert tried > 50
    assert decided >= 0.8 * tried


def test_location_of_times() -> None:
    middle, low, high = statistics.location([1.0, 2.0, 4.0], ALPHA)
    assert middle == pytest.approx(2.0)
    assert low is None
    assert high is None
    eight = statistics.location([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7], ALPHA)
    middle = math.sqrt(1.3 * 1.4)
    ends = [middle * (end / middle) ** 3 for end in (1.0, 1.7)]
    assert np.allclose(np.asarray(eight, dtype=float), [middle, *ends])
    times = 3e-3 * np.exp(0.05 * np.random.default_rng(3).normal(size=2048))
    middle, low, high = statistics.location(times, ALPHA)
    assert low is not None
    assert high is not None
    assert low < 3e-3 < high
    assert low < middle < high < 1.02 * low


def test_the_interval_of_a_location_holds_its_own_estimate() -> None:
    generator = np.random.default_rng(0)
    for _ in range(60):
        rounds = int(generator.integers(40, 700))
        walk = np.cumsum(generator.normal(size=rounds)) * 0.02
        middle, low, high = statistics.location(np.exp(walk), 0.025)
        assert low is not None
        assert high is not None
        assert low <= middle <= high
