"""Numbers as a reader wants them: digits shown are digits known, with SI prefixes."""

from __future__ import annotations

import math

ABSENT = "\u2013"
LEAST_DIGITS = 2
MOST_DIGITS = 4
# What is shown of an estimate that came without an interval, behind a `~`.
ROUGH_DIGITS = 2
# What is shown of figures that are counted, not estimated.
PLAIN_DIGITS = 3
_MOST_DECIMALS = 9
_SECONDS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))
_RATES = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
_JOULES = (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6))
_BYTES = (("TiB", 2.0**40), ("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10), ("B", 1.0))


def digits_known(value: float, low: float | None = None, high: float | None = None) -> int:
    """Significant digits that the interval supports: the last one is of its half-width's order.

    Between LEAST_DIGITS and MOST_DIGITS; ROUGH_DIGITS without an interval.
    """
    if low is None or high is None or not math.isfinite(high - low) or value == 0:
        return ROUGH_DIGITS
    half = (high - low) / 2
    if half <= 0:
        return MOST_DIGITS
    known = math.floor(math.log10(abs(value))) - math.floor(math.log10(half)) + 1
    return max(LEAST_DIGITS, min(MOST_DIGITS, known))


def rounded(value: float, digits: int) -> str:
    """The value in plain notation with this many significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    # Rounding may carry (9.996 -> 10.0), and with it the place of the last digit.
    near = float(f"{value:.{digits - 1}e}")
    return f"{near:.{_decimals(near, digits)}f}"


def seconds(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Seconds with an SI prefix: `0.31 ms` is written `310 us`, without an interval `~310 us`."""
    if value is None:
        return ABSENT
    return f"{_rough(low, high)}{exact_seconds(value, digits_known(value, low, high))}"


def exact_seconds(value: float, digits: int = PLAIN_DIGITS) -> str:
    """Seconds with an SI prefix and this many significant digits, as the ticks of an axis."""
    near = float(f"{value:.{digits - 1}e}")
    unit, scale = _unit(near, _SECONDS)
    return f"{rounded(near / scale, digits)} {unit}"


def size(value: float | None) -> str:
    """Bytes with a binary prefix: `512 MiB`."""
    if value is None:
        return ABSENT
    unit, scale = _unit(value, _BYTES)
    scaled = value / scale
    digits = max(PLAIN_DIGITS, len(str(int(scaled))))
    text = rounded(scaled, digits)
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"


def rate(value: float, unit: str, digits: int = ROUGH_DIGITS) -> str:
    """An amount a second with an SI prefix: `45 GFLOP/s`, `1.2 GB/s`."""
    near = float(f"{value:.{digits - 1}e}")
    prefix, scale = _unit(near, _RATES)
    return f"{rounded(near / scale, digits)} {prefix}{unit}"


def percent(share: float, digits: int = ROUGH_DIGITS) -> str:
    """A share as `62%`, `0.81%`."""
    return f"{rounded(100 * share, digits)}%"


def joules(value: float, resolution: float) -> str:
    """Energy with its resolution: `1.21 +- 0.02 J`; `below 0.02 J` where the counter saw less."""
    unit, scale = _unit(max(abs(value), resolution), _JOULES)
    step = rounded(resolution / scale, 1)
    if value <= resolution:
        return f"below {step} {unit}"
    places = len(step.partition(".")[2])
    return f"{value / scale:.{places}f} \u00b1 {step} {unit}"


def speedup(ratio: float | None, low: float | None = None, high: float | None = None) -> str:
    """How many times faster than the baseline: the inverse of a ratio, as `5.2x`.

    Without an interval `~5.2x`. A value whose interval leaves out 1 is never rounded to 1.
    """
    turned = inverse(ratio, low, high)
    if turned is None:
        return ABSENT
    value, bottom, top = turned
    return f"{_rough(bottom, top)}{rounded(value, _factor_digits(value, bottom, top))}x"


def speedup_interval(ratio: float | None, low: float | None, high: float | None) -> str:
    """The interval of a speed-up, as `5.1 to 5.3`; empty if unknown.

    It has the value's decimals, and more where an end would be rounded to 1 or to 0.
    """
    turned = inverse(ratio, low, high)
    if turned is None or turned[1] is None or turned[2] is None:
        return ""
    value, bottom, top = turned[0], turned[1], turned[2]
    places = _decimals(value, _factor_digits(value, bottom, top))
    while places < _MOST_DECIMALS and any(
        float(f"{end:.{places}f}") in (0.0, 1.0) and end not in (0.0, 1.0) for end in (bottom, top)
    ):
        places += 1
    return f"{bottom:.{places}f} to {top:.{places}f}"


def inverse(
    ratio: float | None, low: float | None, high: float | None
) -> tuple[float, float | None, float | None] | None:
    """Speed-up and its interval from a ratio and its interval; None without a ratio."""
    if ratio is None or ratio <= 0:
        return None
    return 1 / ratio, 1 / high if high else None, 1 / low if low else None


def plain(value: float | None, digits: int = PLAIN_DIGITS) -> str:
    """A figure without unit: `0.0012`, `1.2e-07`."""
    return ABSENT if value is None else f"{value:.{digits}g}"


def duration(value: float) -> str:
    """Wall time in words: `2 min 5 s`."""
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _rough(low: float | None, high: float | None) -> str:
    return "~" if low is None or high is None or not math.isfinite(high - low) else ""


def _factor_digits(value: float, low: float | None, high: float | None) -> int:
    digits = digits_known(value, low, high)
    decided = low is not None and high is not None and not low <= 1 <= high
    # Beside a verdict of faster or slower a reader must see which side of 1 the value lies on.
    while decided and digits < _MOST_DECIMALS and float(rounded(value, digits)) == 1 != value:
        digits += 1
    return digits


def _unit(value: float, units: tuple[tuple[str, float], ...]) -> tuple[str, float]:
    # 0.001 may stand a last bit below 1e-3.
    fits = [unit for unit in units if abs(value) >= unit[1] * (1 - 1e-9)]
    return fits[0] if fits else units[-1]


def _decimals(value: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
