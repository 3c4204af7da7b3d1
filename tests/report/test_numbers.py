from __future__ import annotations

import pytest

from harness.report import numbers


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.00031234, 0.000310, 0.000315, "312 us"),
        (0.00031234, 0.00030, 0.00036, "310 us"),
        (0.00031234, 0.0001, 0.0009, "300 us"),
        (1.23456, 1.2345, 1.2346, "1.235 s"),
        (0.0009999, 0.00099, 0.00101, "1.0 ms"),
        (2.5e-8, None, None, "25.0 ns"),
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


def test_rounding_that_carries_keeps_the_number_of_digits() -> None:
    assert numbers.rounded(9.996, 3) == "10.0"
    assert numbers.rounded(312.4, 1) == "300"


def test_durations_are_words() -> None:
    assert [numbers.duration(value) for value in (5, 125, 7260)] == [
        "5 s",
        "2 min 5 s",
        "2 h 1 min",
    ]
