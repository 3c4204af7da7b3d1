"""Simulated races of known truth: does the interval hold wherever a race stops?"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from harness import statistics
from harness.statistics import Look, Verdict, judge
from tests.noise import Array, ar1

ALPHA, MARGIN, MOST_ROUNDS = 0.05, 0.02, 4096
Noise = Callable[[np.random.Generator], Array]


def _with_slow_spells(random: np.random.Generator, jitter: float = 0.1) -> Array:
    """Both times double for spells of about 200 rounds; a spell may begin within a round."""
    slow = (np.cumsum(random.random(MOST_ROUNDS + 1) < 1 / 200) + random.integers(2)) % 2
    first, second = slow[:-1].copy(), slow[:-1]
    late = random.random(MOST_ROUNDS) < 0.5
    first[late] = slow[1:][late]
    noise = jitter * random.normal(size=MOST_ROUNDS)
    return noise + math.log(2) * np.asarray(first - second, dtype=np.float64)


def _with_slow_rounds(random: np.random.Generator) -> Array:
    """One time in ten takes longer, by the e-fold on average, whichever variant it is."""
    extra = random.exponential(size=(2, MOST_ROUNDS)) * (random.random((2, MOST_ROUNDS)) < 0.1)
    noise = 0.1 * random.normal(size=MOST_ROUNDS)
    both: Array = noise + extra[0] - extra[1]
    return both


def _with_spells_over(rho: float, spread: float) -> Noise:
    """AR(1) rounds of a machine that doubles its times for seconds."""

    def noise(random: np.random.Generator) -> Array:
        spells = _with_slow_spells(random, jitter=0.0)
        both: Array = spread * ar1(rho, MOST_ROUNDS, random) + spells
        return both

    return noise


NOISES: dict[str, Noise] = {
    "iid": lambda random: 0.1 * random.normal(size=MOST_ROUNDS),
    "loud": lambda random: 0.3 * random.normal(size=MOST_ROUNDS),
    "ar-0.5": lambda random: 0.1 * ar1(0.5, MOST_ROUNDS, random),
    "ar-0.5-loud": lambda random: 0.3 * ar1(0.5, MOST_ROUNDS, random),
    "ar-0.8": lambda random: 0.1 * ar1(0.8, MOST_ROUNDS, random),
    "ar-0.8-loud": lambda random: 0.3 * ar1(0.8, MOST_ROUNDS, random),
    "ar-0.5-slow-spells": _with_spells_over(0.5, 0.1),
    "ar-0.8-slow-spells": _with_spells_over(0.8, 0.1),
    "ar-0.8-loud-slow-spells": _with_spells_over(0.8, 0.3),
    "slow-spells": _with_slow_spells,
    "slow-rounds": _with_slow_rounds,
}


def _raced(values: Array) -> Look:
    """The look at which a race of these log-ratios ends: decided, or at its last round."""
    last, number = None, 1
    for rounds in statistics.look_rounds(len(values)):
        seen = statistics.look(values[:rounds], number, ALPHA)
        if seen is not None:
            last, number = seen, number + 1
            if _verdict(seen) != "undecided":
                break
    if last is None:
        raise AssertionError("a race of this length has looks")
    return last


def _verdict(seen: Look) -> Verdict:
    return judge(seen.estimate, seen.low, seen.high, MARGIN)


def _coverage(noise: Noise, trials: int, truth: float = 0.0) -> tuple[float, float]:
    """Shares of races whose interval holds the truth, and that are called different."""
    random = np.random.default_rng(7)
    looks = [_raced(noise(random) + truth) for _ in range(trials)]
    covered = sum(seen.low <= truth <= seen.high for seen in looks)
    different = sum(_verdict(seen) in ("faster", "slower") for seen in looks)
    return covered / trials, different / trials


@pytest.mark.parametrize("noise", NOISES)
def test_the_interval_covers_the_truth_wherever_a_race_stops(noise: str) -> None:
    covered, different = _coverage(NOISES[noise], 1000)
    assert covered >= 0.94
    assert different <= ALPHA + 0.01


@pytest.mark.parametrize("factor", [1.05, 1.3, 2.0])
@pytest.mark.parametrize("noise", ["iid", "ar-0.5", "ar-0.8", "ar-0.8-slow-spells", "slow-rounds"])
def test_it_covers_a_difference_that_ends_the_race_early(noise: str, factor: float) -> None:
    covered, different = _coverage(NOISES[noise], 400, math.log(factor))
    assert covered >= 0.94
    assert different >= 0.9


@pytest.mark.parametrize("noise", ["iid", "ar-0.5", "ar-0.8", "slow-spells", "slow-rounds"])
def test_a_slowdown_of_five_percent_is_found(noise: str) -> None:
    random = np.random.default_rng(11)
    verdicts = [_verdict(_raced(NOISES[noise](random) + math.log(1.05))) for _ in range(150)]
    assert verdicts.count("slower") >= 0.9 * len(verdicts)
    assert "faster" not in verdicts
