from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.analysis.crossover import Crossing, Rivals, Step, crossings, crossovers
from tests.report.synthetic import BASELINE, FAST, frame_of, row

LENGTHS = (256, 512, 1024, 2048, 4096)


def against(variant: str, length: int, ratio: float, reach: float = 1.02) -> dict[str, Any]:
    """A row whose ratio to the baseline is known to a factor of `reach`."""
    return row(variant, length, ratio=ratio, ratio_low=ratio / reach, ratio_high=ratio * reach)


def pairs(rows: list[dict[str, Any]]) -> dict[tuple[str, str], Rivals]:
    return {(pair.first, pair.second): pair for pair in crossovers(frame_of(rows))}


def law(length: float, at: float, power: float) -> float:
    """A ratio that passes 1 at `at`."""
    return float((length / at) ** power)


@pytest.mark.parametrize(("at", "power"), [(700.0, 1.0), (3000.0, -0.7), (300.0, 2.0)])
def test_a_crossing_with_the_baseline_is_found_where_it_lies(at: float, power: float) -> None:
    rows = [row(BASELINE, n) for n in LENGTHS]
    rows += [against(FAST, n, law(n, at, power)) for n in LENGTHS]
    pair = pairs(rows)[BASELINE, FAST]
    (found,) = pair.crossings
    assert pair.outcome == "crosses"
    assert found.length == pytest.approx(at)
    # A straight line moved by log 1.02 crosses 1 at a length 1.02**(1/power) away.
    away = 1.02 ** (1 / abs(power))
    assert (found.low, found.high) == pytest.approx((at / away, at * away))
    assert found.between[0] < found.low < found.high < found.between[1]
    # Below it, a ratio that rises is below 1: the other is quicker than the baseline.
    quick = (FAST, BASELINE) if power > 0 else (BASELINE, FAST)
    assert (found.below, found.above) == quick


def test_a_crossing_without_the_baseline_has_the_hull_of_both_intervals() -> None:
    rows = [row(BASELINE, n) for n in LENGTHS]
    rows += [against(FAST, n, 0.5, 1.01) for n in LENGTHS]
    rows += [against("flex", n, 0.5 * law(n, 1500, -1), 1.03) for n in LENGTHS]
    (found,) = pairs(rows)[FAST, "flex"].crossings
    away = 1.01 * 1.03
    assert found.length == pytest.approx(1500)
    assert (found.low, found.high) == pytest.approx((1500 / away, 1500 * away))
    assert (found.below, found.above, found.between) == (FAST, "flex", (1024, 2048))
    assert found.text == "1500 [1442, 1560]"


def test_the_order_of_the_pair_does_not_matter() -> None:
    found: list[Crossing] = []
    for names in ((BASELINE, FAST), (FAST, BASELINE)):
        rows = [
            row(name, n) if name == BASELINE else against(name, n, law(n, 700, 0.5))
            for n in LENGTHS
            for name in names
        ]
        found += pairs(rows)[names].crossings
    assert found[0] == found[1]


def test_a_pair_that_never_crosses_says_so_with_the_range() -> None:
    rows = [row(BASELINE, n) for n in LENGTHS] + [against(FAST, n, 0.4) for n in LENGTHS]
    pair = pairs(rows)[BASELINE, FAST]
    assert (pair.outcome, pair.quicker, pair.crossings) == ("none", FAST, ())
    assert pair.text == f"none in the range measured: {FAST} quicker from 256 to 4096"


@pytest.mark.parametrize("straddles", [0, 2, 4])
def test_a_length_at_which_two_are_not_told_apart_leaves_it_not_known(straddles: int) -> None:
    """At an end of the range they may cross beyond it, in the middle twice between."""
    rows = [row(BASELINE, n) for n in LENGTHS]
    rows += [against(FAST, n, 0.99 if at == straddles else 0.5) for at, n in enumerate(LENGTHS)]
    pair = pairs(rows)[BASELINE, FAST]
    assert (pair.outcome, pair.quicker, pair.open) == ("not known", None, (LENGTHS[straddles],))
    assert pair.text == f"not known: not told apart at {LENGTHS[straddles]}"
    turned = pairs(rows[len(LENGTHS) :] + rows[: len(LENGTHS)])[FAST, BASELINE]
    assert (turned.outcome, turned.quicker) == ("not known", None)


def test_what_is_not_told_apart_widens_the_crossing_that_it_lies_in() -> None:
    rows = [row(BASELINE, n) for n in LENGTHS]
    ratios = (0.5, 0.9, 1.01, 1.005, 2.0)
    rows += [against(FAST, n, ratio) for n, ratio in zip(LENGTHS, ratios, strict=True)]
    pair = pairs(rows)[BASELINE, FAST]
    (found,) = pair.crossings
    assert (pair.open, found.between) == ((1024, 2048), (512, 4096))
    assert 512 < found.low < found.length < 1024
    # The lower end, 1.005 / 1.02, is below 1 until after 2048.
    assert 2048 < found.high < 2200


def test_an_estimate_that_wanders_across_1_gives_the_middle_of_its_crossings() -> None:
    values = (-1.0, 0.1, -0.1, 1.0)
    steps = [Step(2**n, x, x - 0.2, x + 0.2) for n, x in enumerate(values)]
    (found,) = crossings(steps, "a", "b")
    first, last = 1.0 / 1.1, 2 + 0.1 / 1.1
    assert math.log2(found.length) == pytest.approx((first + last) / 2)
    assert found.low < 2**first < 2**last < found.high


def test_two_crossings_are_two() -> None:
    rows = [row(BASELINE, n) for n in LENGTHS]
    ratios = (0.5, 2.0, 2.0, 0.5, 0.5)
    rows += [against(FAST, n, ratio) for n, ratio in zip(LENGTHS, ratios, strict=True)]
    first, second = pairs(rows)[BASELINE, FAST].crossings
    assert (first.between, second.between) == ((256, 512), (1024, 2048))
    assert (first.below, second.below) == (FAST, BASELINE)


def test_an_unknown_end_lies_anywhere_between_its_neighbours() -> None:
    steps = [Step(1, -1.0, -1.1, -0.9), Step(2, 0.1, -math.inf, math.inf), Step(4, 1.0, 0.9, 1.1)]
    (found,) = crossings(steps, "a", "b")
    assert (found.low, found.high, found.between) == (1.0, 4.0, (1, 4))
    assert 1 < found.length < 2


def test_without_intervals_of_the_ratio_latencies_tell_apart() -> None:
    bare: dict[str, Any] = {"ratio_low": None, "ratio_high": None}
    rows = [row(BASELINE, n, latency_s=1e-3, latency_low_s=0.9e-3, latency_high_s=1.1e-3)
            for n in LENGTHS]  # fmt: skip
    rows += [
        row(FAST, n, ratio=law(n, 700, 1), **bare)
        | {f"latency{end}_s": 1e-3 * law(n, 700, 1) * by
           for end, by in (("", 1.0), ("_low", 0.9), ("_high", 1.1))}
        for n in LENGTHS
    ]  # fmt: skip
    (found,) = pairs(rows)[BASELINE, FAST].crossings
    assert found.length == pytest.approx(700)
    assert found.low == pytest.approx(700 * 0.9 / 1.1)
    rows[0]["latency_low_s"] = None
    assert pairs(rows)[BASELINE, FAST].open == (256,)


def test_without_a_baseline_latencies_decide() -> None:
    none = {"ratio": None, "ratio_low": None, "ratio_high": None, "verdict": None}
    rows = [row(BASELINE, n, status="oom", reason="full") for n in LENGTHS]
    rows += [row(name, n, **none) for name in (FAST, "flex") for n in LENGTHS]
    assert list(pairs(rows)) == [(FAST, "flex")]
    assert pairs(rows)[FAST, "flex"].quicker == FAST


def test_what_failed_is_outside_the_range() -> None:
    rows = [row(BASELINE, n) for n in LENGTHS]
    rows += [against(FAST, n, 0.5) for n in LENGTHS[:3]]
    rows += [row(FAST, n, status="impossible", reason="x", latency_s=1e-9) for n in LENGTHS[3:]]
    rows += [against("flex", LENGTHS[0], 0.5)]
    assert list(pairs(rows)) == [(BASELINE, FAST)]
    assert pairs(rows)[BASELINE, FAST].text.endswith("quicker from 256 to 1024")


def test_pairs_of_different_workloads_are_not_compared() -> None:
    rows = [row(BASELINE, n) for n in LENGTHS]
    rows += [against(FAST, n, 0.5) | {"mask": "causal"} for n in LENGTHS]
    assert pairs(rows) == {}


def test_the_interval_covers_the_crossing_of_noisy_ratios() -> None:
    """95% intervals at each of two lengths; simulated, so the truth is known."""
    random, noise, trials, at = np.random.default_rng(5), 0.05, 1000, 700.0
    reach = math.exp(1.96 * noise)
    held = found = 0
    for strayed in np.exp(random.normal(0, noise, (trials, len(LENGTHS)))):
        steps = [
            Step(n, math.log(y), math.log(y / reach), math.log(y * reach))
            for n, factor in zip(LENGTHS, strayed, strict=True)
            for y in [law(n, at, 0.8) * factor]
        ]
        for one in crossings(steps, "a", "b"):
            found += 1
            held += one.low <= at <= one.high
    assert found > 0.95 * trials
    assert held / found >= 0.95
