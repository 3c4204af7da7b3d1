"""Changes of latency between two runs: the rule, and what it says of simulated machines."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from harness.analysis.change import (
    Change,
    Evidence,
    Span,
    Yardstick,
    quotient,
    ratio_span,
    seconds_span,
    yardstick,
)
from harness.records.schema import Launch
from harness.roofline import Ceilings
from tests.analysis.drifting import ALPHA, MARGIN, QUIET, Machine, run

TIMES_S = (0.005, 0.005, 0.0075)
"""Of the baseline, of a variant that a race cannot tell from it, and of one that it soon can."""
Block = list[tuple[Launch, ...]]


def _evidence(a: Block, b: Block, index: int) -> Evidence:
    own, base = (
        quotient(seconds_span(a[i], ALPHA), seconds_span(b[i], ALPHA), ALPHA) for i in (index, 0)
    )
    ratios = quotient(ratio_span(a[index], a[0], ALPHA), ratio_span(b[index], b[0], ALPHA), ALPHA)
    seen = yardstick(*([c for c in (one.ceilings for one in block[0]) if c] for block in (a, b)))
    return Evidence(own, ratios if index else None, seen, base)


def _simulated(
    machine: Machine, factors: Sequence[float], trials: int, launches: int = 2
) -> tuple[list[Counter[str]], list[Counter[str]]]:
    """Verdicts on each variant whose time was multiplied by its factor; and by seconds alone."""
    random = np.random.default_rng(5)
    ruled: list[Counter[str]] = [Counter() for _ in TIMES_S]
    alone: list[Counter[str]] = [Counter() for _ in TIMES_S]
    for _ in range(trials):
        a = run(random, machine, TIMES_S, launches)
        b = run(random, machine, [t * f for t, f in zip(TIMES_S, factors, strict=True)], launches)
        for index in range(len(TIMES_S)):
            found = _evidence(a, b, index)
            ruled[index][found.verdict(MARGIN)] += 1
            alone[index][found.seconds.verdict(MARGIN)] += 1
    return ruled, alone


@pytest.mark.parametrize(
    ("dwell_s", "has_yardstick"), [(1.0, True), (10.0, True), (10.0, False), (1000.0, False)]
)
def test_identical_code_on_a_drifting_machine_is_not_called_different(
    dwell_s: float, has_yardstick: bool
) -> None:
    trials = 40
    machine = Machine(dwell_s=dwell_s, has_yardstick=has_yardstick)
    ruled, alone = _simulated(machine, (1, 1, 1), trials)
    assert all(one["slower"] + one["faster"] <= ALPHA * trials for one in ruled)
    if dwell_s > 1:  # what the rule is for: seconds alone are wrong more often
        assert all(one["slower"] + one["faster"] > 2 * ALPHA * trials for one in alone)


@pytest.mark.parametrize("has_yardstick", [True, False])
def test_nor_is_it_with_as_many_launches_as_tell_runs_apart(has_yardstick: bool) -> None:
    trials = 20
    machine = Machine(dwell_s=10.0, has_yardstick=has_yardstick)
    ruled, alone = _simulated(machine, (1, 1, 1), trials, launches=4)
    assert all(one["slower"] + one["faster"] <= ALPHA * trials for one in ruled)
    assert all(one["slower"] + one["faster"] > 2 * ALPHA * trials for one in alone)


def test_a_regression_of_ten_percent_is_found_on_a_quiet_machine() -> None:
    ruled, _ = _simulated(QUIET, (1, 1.1, 1), 40)
    assert ruled[1]["slower"] >= 36
    assert ruled[0]["slower"] + ruled[2]["slower"] == 0


def test_four_launches_find_it_in_a_race_that_ends_early_and_without_a_yardstick() -> None:
    for machine in (QUIET, dataclasses.replace(QUIET, has_yardstick=False)):
        ruled, _ = _simulated(machine, (1, 1, 1.1), 20, launches=4)
        assert ruled[2]["slower"] >= 18
        assert ruled[0]["same"] + ruled[1]["same"] >= 28
        assert ruled[0]["slower"] + ruled[1]["slower"] == 0


def test_a_whole_block_that_slows_down_is_found_where_the_yardstick_stood_still() -> None:
    ruled, _ = _simulated(QUIET, (1.1, 1.1, 1.1), 20)
    assert min(ruled[0]["slower"], ruled[1]["slower"]) >= 18
    blind, _ = _simulated(dataclasses.replace(QUIET, has_yardstick=False), (1.1, 1.1, 1.1), 20)
    assert blind[0]["slower"] + blind[1]["slower"] == 0


def test_a_baseline_that_slows_down_takes_no_other_along() -> None:
    ruled, _ = _simulated(QUIET, (1.1, 1, 1), 20, launches=4)
    assert ruled[0]["slower"] >= 18
    assert all(one["slower"] + one["faster"] == 0 for one in ruled[1:])
    assert ruled[1]["same"] >= 12


SLOWER, LITTLE = Change(1.2, 1.15, 1.25), Change(1.01, 0.99, 1.015)
NOTHING, WIDE = Change(1.0, 0.99, 1.01), Change(1.1, 0.8, 1.5)
SPANS = Span((1.0, 1.1), 0.9, 1.2), Span((1.2, 1.2), 1.1, 1.3)
STILL, MOVED = (Yardstick(one, one) for one in (NOTHING, Change(1.3, 1.28, 1.32)))


@pytest.mark.parametrize(
    ("evidence", "verdict", "why"),
    [
        (Evidence(SLOWER, SLOWER), "slower", None),
        (Evidence(SLOWER), "undecided", "alone"),
        (Evidence(SLOWER, NOTHING), "undecided", "baseline"),
        (Evidence(SLOWER, WIDE), "undecided", "baseline"),
        (Evidence(SLOWER, WIDE, STILL), "slower", None),
        (Evidence(SLOWER, NOTHING, STILL), "undecided", "baseline"),
        (Evidence(SLOWER, NOTHING, STILL, SLOWER), "slower", None),
        (Evidence(SLOWER, NOTHING, None, SLOWER), "undecided", "baseline"),
        (Evidence(SLOWER, Change(1.05, 0.9, 1.1), STILL), "undecided", "baseline"),
        (Evidence(SLOWER, Change(0.9, 0.7, 1.3), STILL), "undecided", "baseline"),
        (Evidence(SLOWER, None, STILL, SLOWER), "slower", None),
        (Evidence(SLOWER, None, STILL), "undecided", "alone"),
        (Evidence(SLOWER, SLOWER, MOVED, SLOWER), "undecided", "machine"),
        (Evidence(LITTLE, NOTHING), "same", None),
        (Evidence(LITTLE, WIDE), "same", None),
        (Evidence(LITTLE, SLOWER), "undecided", "baseline"),
        (Evidence(LITTLE, SLOWER, STILL, SLOWER), "same", None),
        (Evidence(LITTLE, NOTHING, MOVED), "undecided", "machine"),
        (Evidence(Change(1.2), SLOWER), "undecided", "rounds"),
        (Evidence(WIDE, SLOWER, STILL), "undecided", "margin"),
    ],
)
def test_the_rule(evidence: Evidence, verdict: str, why: str | None) -> None:
    assert evidence.verdict(MARGIN) == verdict
    assert evidence.why(MARGIN, SPANS) == why


def test_launches_that_lie_apart_are_the_reason_where_they_make_the_hull() -> None:
    apart = Span((1.0, 1.5), 0.98, 1.55)
    assert Evidence(WIDE).why(MARGIN, (apart, SPANS[1])) == "launches"


def test_faster_mirrors_slower() -> None:
    faster = Change(1 / 1.2, 1 / 1.25, 1 / 1.15)
    assert Evidence(faster, faster).verdict(MARGIN) == "faster"
    assert Evidence(faster, SLOWER).verdict(MARGIN) == "undecided"


def test_a_quotient_is_of_the_far_ends() -> None:
    found = quotient(Span((1.0, 1.0), 0.8, 1.25), Span((2.0, 2.0), 1.5, 2.5), ALPHA)
    assert found == Change(2.0, 1.5 / 1.25, 2.5 / 0.8)
    assert quotient(Span((1.0,), None, None), Span((2.0,), 1.5, 2.5), ALPHA) == Change(2.0)


def test_four_launches_against_four_need_no_interval_of_their_own() -> None:
    one, other = Span((1.0, 1.1, 1.2, 1.0), None, None), Span((2.0, 2.0, 2.2, 2.4), 1.0, 9.0)
    found = quotient(one, other, ALPHA)
    assert (found.low, found.high) == (2.0 / 1.2, 2.4 / 1.0)
    # Of three against three, one order in ten has all of one run beyond the other.
    assert quotient(Span((1.0,) * 3, None, None), Span((2.0,) * 3, 1.0, 9.0), ALPHA).low is None


def test_a_yardstick_is_between_the_launches_that_lie_furthest_apart() -> None:
    a = [Ceilings(10.0, 8.0, 1e-6), Ceilings(8.0, 8.0, 1e-6)]
    b = [Ceilings(9.0, 4.0, 1e-6), Ceilings(9.0, 8.0, 1e-6)]
    seen = yardstick(a, b)
    assert seen is not None
    assert (seen.matmul.low, seen.matmul.high) == (8 / 9, 10 / 9)
    assert (seen.furthest, seen.widening) == (2.0, 2.0)
    assert not seen.has_moved(MARGIN)  # a pair of launches saw the same speed
    back = yardstick(b, a)
    assert back is not None
    assert (back.furthest, back.widening) == (0.5, 2.0)
    moved = yardstick(a, [Ceilings(5.0, 8.0, 1e-6)])
    assert moved is not None
    assert moved.has_moved(MARGIN)
    assert yardstick(a, []) is None


def test_seconds_are_the_hull_of_launches_each_at_its_share_of_alpha() -> None:
    random = np.random.default_rng(1)
    launches = [
        Launch(rounds_s=tuple(scale * np.exp(0.05 * random.normal(size=200))), warmup_s=(1.0,))
        for scale in (1.0, 1.5)
    ]
    both, first = seconds_span(launches, ALPHA), seconds_span(launches[:1], ALPHA / 2)
    assert both.launches == pytest.approx((1.0, 1.5), rel=0.02)
    assert (both.low, both.launches[0]) == (first.low, first.launches[0])
    assert both.high is not None
    assert first.high is not None
    assert both.high > 1.45 > first.high
    assert both.spread == pytest.approx(1.5, rel=0.03)
