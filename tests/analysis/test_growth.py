from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.analysis.growth import TOLERANCE, Growth, Point, exponent, growths
from tests.report.synthetic import BASELINE, FAST, frame_of, row

LENGTHS = (512, 1024, 2048, 4096)


def rows_of_shape(shape: Any, lengths: tuple[int, ...] = LENGTHS, **given: Any) -> Any:
    """Rows of the baseline whose time and memory follow `shape`, times known to 1%."""
    return [
        row(
            BASELINE,
            length,
            latency_s=1e-9 * shape(length),
            latency_low_s=0.99e-9 * shape(length),
            latency_high_s=1.01e-9 * shape(length),
            peak_bytes=round(shape(length)),
            **given,
        )
        for length in lengths
    ]


def found(rows: Any, quantity: str = "time", variant: str = BASELINE) -> Growth:
    (one,) = [
        growth
        for growth in growths(frame_of(rows))
        if (growth.quantity, growth.variant) == (quantity, variant)
    ]
    return one


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0])
def test_a_power_law_is_found_exactly(power: float) -> None:
    fit = exponent([Point(n, n**power, n**power, n**power) for n in LENGTHS])
    assert (fit.value, fit.low, fit.high) == pytest.approx((power, power, power))


@pytest.mark.parametrize("lengths", [LENGTHS[:3], LENGTHS, (256, *LENGTHS)])
@pytest.mark.parametrize("known", [True, False])
def test_the_interval_covers_the_exponent_of_a_noisy_power_law(
    lengths: tuple[int, ...], known: bool
) -> None:
    """Points with their own 95% intervals or with none; simulated, so the truth is known."""
    random, noise, trials, power = np.random.default_rng(3), 0.03, 2000, 1.7
    reach = math.exp(1.96 * noise)
    held = 0
    for strayed in np.exp(random.normal(0, noise, (trials, len(lengths)))):
        values = [n**power * factor for n, factor in zip(lengths, strayed, strict=True)]
        fit = exponent(
            [
                Point(n, y, y / reach, y * reach) if known else Point(n, y)
                for n, y in zip(lengths, values, strict=True)
            ]
        )
        held += fit.low <= power <= fit.high
    assert held / trials >= 0.94


@pytest.mark.parametrize("lengths", [LENGTHS, (256, *LENGTHS)])
def test_drift_between_blocks_that_no_interval_holds_is_seen_in_the_neighbouring_slopes(
    lengths: tuple[int, ...],
) -> None:
    """Every point claims to be exact, and yet strays: as bytes never do, and times may."""
    random, trials = np.random.default_rng(4), 2000
    held = 0
    for strayed in np.exp(random.normal(0, 0.03, (trials, len(lengths)))):
        values = [n**1.7 * factor for n, factor in zip(lengths, strayed, strict=True)]
        fit = exponent([Point(n, y, y, y) for n, y in zip(lengths, values, strict=True)])
        held += fit.low <= 1.7 <= fit.high
    assert held / trials >= 0.9


@pytest.mark.parametrize("share", [0.002, 0.004, 0.01, 0.1])
def test_with_a_term_of_lower_order_the_local_and_the_asymptotic_exponent_are_held(
    share: float,
) -> None:
    """y = L + share L^2: at 512 the square is 1 to 51 times the rest."""
    points = [Point(n, y, y, y) for n in LENGTHS for y in [n + share * n**2]]
    fit = exponent(points)
    for n in LENGTHS[:-1]:
        grown = share * n * 2**0.5  # the square over the rest, in the middle of n and 2 n
        assert fit.low - 1e-3 <= 1 + grown / (1 + grown) <= fit.high + 1e-3
    assert fit.low < fit.value < 2 <= fit.high + TOLERANCE


def test_three_lengths_that_bend_keep_a_useful_interval() -> None:
    """Slopes of 1.8 and 2.0: the t-interval of the regression would be 1.9 plus or minus 0.7."""
    points = [(1, 1.0), (2, 2**1.8), (4, 2**3.8)]
    fit = exponent([Point(n, y, 0.99 * y, 1.01 * y) for n, y in points])
    assert (fit.value, fit.low, fit.high) == pytest.approx((1.9, 1.771, 2.2), abs=1e-3)
    assert exponent([Point(n, y) for n, y in points]).high > 2.5


def test_wider_points_make_a_wider_interval() -> None:
    widths = []
    for reach in (1.0, 1.05, 1.2):
        fit = exponent([Point(n, n**2, n**2 / reach, n**2 * reach) for n in LENGTHS])
        widths.append(fit.high - fit.low)
        assert fit.low <= 2 <= fit.high
    # Neighbours a factor of 2 apart, each off by 1.2 to the other's harm.
    assert widths == pytest.approx([0.0, 4 * math.log2(1.05), 4 * math.log2(1.2)])


def test_two_lengths_have_no_exponent() -> None:
    with pytest.raises(ValueError, match="needs 3 lengths, found 2"):
        exponent([Point(1, 1.0), Point(2, 2.0)])
    assert growths(frame_of(rows_of_shape(lambda n: n**2, LENGTHS[:2]))) == []


def test_time_memory_and_error_of_each_variant_are_found() -> None:
    rows = [row(variant, n) for variant in (BASELINE, FAST) for n in LENGTHS]
    table = {(one.variant, one.quantity): one for one in growths(frame_of(rows))}
    assert len(table) == 6
    assert table[FAST, "time"].exponent.value == pytest.approx(1.9)
    assert table[FAST, "memory"].exponent.value == pytest.approx(1.0)
    assert table[FAST, "error"].exponent.value == pytest.approx(0.1)
    assert table[BASELINE, "memory"].lengths == LENGTHS


def test_an_error_of_0_is_no_point() -> None:
    rows = [row(BASELINE, n, error=0.0 if n == 512 else 1e-7) for n in LENGTHS]
    one = found(rows, "error")
    assert (one.lengths, one.missing) == ((1024, 2048, 4096), ((512, "not measured"),))


def test_what_failed_is_left_out_and_named() -> None:
    rows = [row(BASELINE, n) for n in (256, *LENGTHS)]
    rows += [row(FAST, n) for n in LENGTHS[:3]] + [row(FAST, 4096, status="oom", reason="full")]
    one = found(rows, "memory", FAST)
    assert one.lengths == (512, 1024, 2048)
    assert one.missing == ((256, "not measured"), (4096, "oom"))
    rows[5] = row(FAST, 512, status="incorrect", reason="wrong", peak_bytes=2**18)
    assert not [growth for growth in growths(frame_of(rows)) if growth.variant == FAST]


def test_decode_grows_with_the_keys_and_is_held_against_no_claim() -> None:
    given: dict[str, Any] = {"pass": "decode", "q_len": 1, "claimed_time_growth": 2.0}
    rows = rows_of_shape(lambda n: n, **given)
    one = found(rows)
    assert (one.group.axis, one.lengths) == ("kv_len", LENGTHS)
    assert one.text == "measured L^1.00 [0.97, 1.03]"


@pytest.mark.parametrize(
    ("power", "claim", "against"),
    [
        (2, 2.0, "held"),
        (2, 1.0, "above"),
        (1, 2.0, "below"),
        (1, 1.07, "held"),
        (1, 0.93, "held"),
        (1, 0.9, "above"),
        (1, 1.1, "below"),
    ],
)
def test_a_claim_outside_the_interval_is_flagged(power: int, claim: float, against: str) -> None:
    """Times known to 1% give an interval 0.03 wide either way; claims have 0.05 more."""
    one = found(rows_of_shape(lambda n: n**power, claimed_time_growth=claim))
    assert one.against_claim == against
    assert one.flagged == (against != "held")


def test_a_claim_that_slopes_still_rise_towards_is_not_reached() -> None:
    """Scratch of a constant size and an output: linear in the end, and not yet at 4096."""
    rows = rows_of_shape(lambda n: 2**24 + 2**10 * n, claimed_memory_growth=1.0)
    one = found(rows, "memory")
    assert (one.against_claim, one.flagged, one.exponent.rising) == ("not reached", True, True)
    # Slopes that fall do not rise to it, and one that rises beyond the claim has broken it.
    rows = rows_of_shape(lambda n: 2**30 - 2**29 * 512 // n, claimed_memory_growth=2.0)
    assert found(rows, "memory").against_claim == "below"
    rows = rows_of_shape(lambda n: n + n**2, claimed_memory_growth=1.0)
    assert found(rows, "memory").against_claim == "above"


def test_slopes_that_fall_are_not_carried_on() -> None:
    points = [Point(n, y, y, y) for n, y in ((256, 1.0), (1024, 6.0), (4096, 9.0))]
    fit = exponent(points)
    assert fit.low == pytest.approx(math.log(9 / 6, 4))
    assert fit.high == pytest.approx(math.log(6, 4))


def test_an_exponent_and_its_claim_are_one_text() -> None:
    one = found(rows_of_shape(lambda n: n, claimed_time_growth=1.0))
    assert (one.text, one.tells) == ("claims L^1, measured L^1.00 [0.97, 1.03]", True)
    assert found(rows_of_shape(lambda n: 1e9 - n), "memory").measured == "L^0.00 [0.00, 0.00]"


def test_an_interval_that_is_wide_has_fewer_decimals() -> None:
    rows = [row(BASELINE, n, latency_s=n * 1e-6, latency_low_s=n * 5e-7, latency_high_s=n * 2e-6)
            for n in LENGTHS]  # fmt: skip
    one = found(rows)
    assert (one.measured, one.tells) == ("L^1.0 [-1.0, 3.0]", False)


def test_counted_bytes_have_a_tolerance_for_lower_order_terms() -> None:
    rows = rows_of_shape(lambda n: 1e4 * n**1.96, claimed_memory_growth=2.0)
    assert not found(rows, "memory").flagged
    rows = rows_of_shape(lambda n: 1e4 * n**1.94, claimed_memory_growth=2.0)
    assert found(rows, "memory").against_claim == "below"


def test_counted_bytes_that_bend_are_not_taken_for_noise() -> None:
    sizes = {256: 2**20, 512: round(2**21.8), 1024: round(2**23.8)}
    fit = found(rows_of_shape(sizes.__getitem__, tuple(sizes)), "memory").exponent
    assert (fit.low, fit.high) == pytest.approx((1.8, 2.2), abs=1e-4)


def test_without_a_claim_nothing_is_flagged() -> None:
    one = found(rows_of_shape(lambda n: n**2, claimed_time_growth=None))
    assert (one.against_claim, one.flagged) == (None, False)
    assert one.text == ("measured L^2.00 [1.97, 2.03]")
    rows = rows_of_shape(lambda n: n**2, claimed_time_growth=1.0)
    rows[1]["claimed_time_growth"] = 2.0
    assert found(rows).claim is None


def test_a_claim_for_square_attention_is_not_held_against_a_fixed_number_of_keys() -> None:
    rows = rows_of_shape(lambda n: n, kv_len=8192, claimed_time_growth=2.0)
    assert (found(rows).claim, found(rows).flagged) == (None, False)


def test_runs_are_never_fitted_together() -> None:
    rows = rows_of_shape(lambda n: n**2, LENGTHS[:2], run="a")
    rows += rows_of_shape(lambda n: n**2, LENGTHS[2:], run="b")
    assert growths(frame_of(rows)) == []
