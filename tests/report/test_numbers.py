from __future__ import annotations

import pytest

from harness.report import numbers


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.00031234, 0.000310, 0.000315, "312 us"),
        (0.00031234, 0.00030, 0.00036, "310 us"),
        (0.00031234, 0.0001, 0.0009, "310 us"),
        (1.23456, 1.2345, 1.2346, "1.235 s"),
        (0.0009999, 0.00099, 0.00101, "1.0 ms"),
        (2.5e-8, None, None, "~25 ns"),
        (0.03912, None, None, "~39 ms"),
        (0.39123, 0.38, float("inf"), "~390 ms"),
        (None, None, None, "–"),  # noqa: RUF001 - the dash of an empty cell
    ],
)
def test_seconds_show_the_digits_that_the_interval_supports(
    value: float | None, low: float | None, high: float | None, text: str
) -> None:
    assert numbers.seconds(value, low, high) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**29, "512 MiB"),
        (1023 * 1024, "1023 KiB"),
        (0, "0 B"),
        (1536, "1.5 KiB"),
        (2**41, "2 TiB"),
    ],
)
def test_bytes_have_binary_prefixes(value: int, text: str) -> None:
    assert numbers.size(value) == text


def test_a_speed_up_is_the_inverse_of_the_ratio_and_its_interval_is_turned_over() -> None:
    assert numbers.speedup(0.2, 0.19, 0.21) == "5.0x"
    assert numbers.speedup_interval(0.2, 0.19, 0.21) == "4.8 to 5.3"
    assert numbers.speedup_interval(0.2, None, None) == ""
    assert numbers.speedup(0.10234, None, None) == "~9.8x"


@pytest.mark.parametrize(
    ("value", "low", "high", "text", "interval"),
    [
        (0.96, 0.3, 0.999, "0.96x", "0.300 to 0.999"),
        (1.04, 1.0004, 3.0, "1.04x", "1.0004 to 3.0000"),
        (1.0008, 1.0004, 1.4, "1.001x", "1.0004 to 1.4000"),
        (1.0008, 0.9, 1.4, "1.0x", "0.9 to 1.4"),
        (5.0, 0.02, 12.0, "5.0x", "0.02 to 12.00"),
    ],
)
def test_a_speed_up_lies_on_its_side_of_1_with_2_digits_at_least(
    value: float, low: float, high: float, text: str, interval: str
) -> None:
    ratios = (1 / value, 1 / high, 1 / low)
    assert numbers.speedup(*ratios) == text
    assert numbers.speedup_interval(*ratios) == interval


def test_rounding_that_carries_keeps_the_number_of_digits() -> None:
    assert numbers.rounded(9.996, 3) == "10.0"
    assert numbers.rounded(312.4, 1) == "300"


def test_durations_are_words() -> None:
    assert [numbers.duration(value) for value in (5, 125, 7260)] == [
        "5 s",
        "2 min 5 s",
        "2 h 1 min",
    ]
