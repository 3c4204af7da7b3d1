"""The roofline: which bound holds, and what is beyond it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.roofline import TOLERANCE, Ceilings, best, impossible, roofline

LIMITS = Ceilings(matmul_flops_per_s=1e9, copy_bytes_per_s=1e8, call_s=1e-6)
AMOUNTS = st.integers(0, 10**15)
RATES = st.floats(1e3, 1e15)


@pytest.mark.parametrize(
    ("flops", "moved", "bound", "seconds"),
    [
        (10**9, 10**6, "compute", 1.0),
        (10**6, 10**8, "memory", 1.0),
        (10, 10, "overhead", 1e-6),
        (0, 0, "overhead", 1e-6),
    ],
)
def test_the_slowest_bound_holds(flops: int, moved: int, bound: str, seconds: float) -> None:
    found = roofline(flops, moved, LIMITS)
    assert found.bound_by == bound
    assert found.attainable_s == pytest.approx(seconds)


def test_best_takes_each_figure_from_whoever_had_it() -> None:
    other = Ceilings(matmul_flops_per_s=5e8, copy_bytes_per_s=3e8, call_s=4e-7)
    assert best([LIMITS, None, other]) == Ceilings(1e9, 3e8, 4e-7)
    assert best([None]) is best([]) is None


def test_what_is_beyond_the_tolerance_is_impossible_and_says_what_to_declare() -> None:
    within, beyond = 1 / (TOLERANCE * 0.99), 1 / (TOLERANCE * 1.01)
    assert impossible(within, 10**9, 10**8, LIMITS) is None
    assert impossible(beyond, 10**9, 0, LIMITS) == (
        "1.52e+09 FLOP/s, where this machine's best matrix product reaches 1e+09: it does less "
        "work than that, or was not timed whole; if it does less, return Cost(flops=...) from "
        "cost()"
    )
    assert impossible(beyond, 0, 10**8, LIMITS) == (
        "1.52e+08 bytes/s, where this machine's best copy reaches 1e+08: it does less work than "
        "that, or was not timed whole; if it does less, return Cost(bytes=...) from cost()"
    )


def test_no_time_at_all_is_impossible_for_any_work() -> None:
    assert "inf FLOP/s" in str(impossible(0.0, 1, 0, LIMITS))
    assert impossible(0.0, 0, 0, LIMITS) is None


def test_a_call_shorter_than_the_smallest_operator_is_not_impossible_by_that() -> None:
    assert impossible(LIMITS.call_s / 100, 1, 0, LIMITS) is None


@given(AMOUNTS, AMOUNTS, RATES, RATES, st.floats(1e-9, 1e-3), st.floats(1.0, 100.0))
def test_whoever_needs_the_attainable_time_is_never_impossible(
    flops: int, moved: int, product: float, copy: float, call_s: float, slower: float
) -> None:
    limits = Ceilings(product, copy, call_s)
    seconds = slower * roofline(flops, moved, limits).attainable_s
    assert impossible(seconds, flops, moved, limits) is None


@given(AMOUNTS, AMOUNTS, RATES, RATES, st.floats(1e-9, 1e3))
def test_higher_ceilings_never_make_a_case_impossible(
    flops: int, moved: int, product: float, copy: float, seconds: float
) -> None:
    limits = Ceilings(product, copy, 1e-6)
    higher = Ceilings(2 * product, 2 * copy, 1e-6)
    if impossible(seconds, flops, moved, limits) is None:
        assert impossible(seconds, flops, moved, higher) is None
