"""How time, memory and error grow with the length: exponents with intervals, beside the claims.

The exponent is the slope of log y on log L by least squares, over the lengths that came out ok.
Three to five lengths say little of noise, and what bends the line is mostly no noise at all but
terms of lower order (y = a L + b L^2), caches, and blocks that were measured at other times. So
the interval is not that of a straight line with Gaussian errors; it is the hull of

- the slopes between neighbouring lengths, with the points at those ends of their own intervals
  that make them least and greatest. A line through any values within these intervals has a slope
  that is a mean of those, so it lies in the hull as well,
- where these slopes rise throughout, the last one carried on by what is left to rise: a sum of
  powers bends upwards, towards the exponent of its highest, and what a L + b L^2 still lacks
  halves with each doubling of the length; with lengths r apart that is 1 / (r - 1) of the last
  rise. Slopes that fall have other reasons, and are not carried on,
- and, only where some point has no interval of its own, the t-interval of the regression at 95%.
  Where the points' intervals are known it would take the bend for noise: three lengths with
  slopes of 1.8 and 2.0 would give 1.9 plus or minus 0.7.

Bytes are counted, so they are points with an interval of no width.

A claim is of attention on as many keys as queries, so a sweep of either alone (decode, a fixed
kv_len) is fitted and held against none. It is of long lengths, too: where slopes rise throughout
and the claim lies above the interval, it is `not reached`, since constant and lower-order terms
still weigh (y = a + b L, as the scratch of a block-wise kernel and its output), and only longer
lengths can tell. Above or below the interval for any other reason, the claim does not hold at
these lengths. All three are flagged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from harness.analysis.groups import Group, Row, grouped, rows_of

Quantity = Literal["time", "memory", "error"]
Against = Literal["held", "above", "below", "not reached"]

LEAST_LENGTHS = 3
"""Two lengths have a slope and nothing that says how far to trust it."""
TOLERANCE = 0.05
"""How far outside its interval a claim may lie: what lower-order terms leave of a slope at the
lengths of a benchmark, where the bytes are counted and the interval has next to no width."""
LEAST_RISE = 0.01
"""Between two slopes; by less than that they are the same, whatever rounding makes of them."""

# 97.5% quantiles of Student's t by degrees of freedom; from 11 on that of 10, which is wider.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Point:
    """A value at a length, with its interval where one is known."""

    length: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Exponent:
    """The p of y ~ L^p and its interval; `rising` where it grows from length to length."""

    value: float
    low: float
    high: float
    rising: bool = False


@dataclass(frozen=True)
class Growth:
    """How one quantity of one variant grows with the length, and what the variant claims.

    `missing` are the lengths of the group that went in for no value, each with its status or
    `not measured`. `claim` is absent where nothing is claimed of these workloads.
    """

    group: Group
    variant: str
    quantity: Quantity
    exponent: Exponent
    lengths: tuple[int, ...]
    missing: tuple[tuple[int, str], ...] = ()
    claim: float | None = None

    @property
    def against_claim(self) -> Against | None:
        """What the interval says of the claim: that it is held, or how it is not; None: no claim.

        `above`: it grows faster than claimed, by more than TOLERANCE; `below`: slower.
        """
        if self.claim is None:
            return None
        if self.exponent.low > self.claim + TOLERANCE:
            return "above"
        if self.exponent.high >= self.claim - TOLERANCE:
            return "held"
        return "not reached" if self.exponent.rising else "below"

    @property
    def flagged(self) -> bool:
        """True when the claim lies outside the interval, by more than TOLERANCE."""
        return self.against_claim not in (None, "held")

    @property
    def tells(self) -> bool:
        """False when the interval is so wide that it holds L^1 and L^2 alike, or could."""
        return self.exponent.high - self.exponent.low < 1

    @property
    def measured(self) -> str:
        """`L^1.04 [1.00, 1.08]`; fewer decimals where the interval is wide."""
        width = self.exponent.high - self.exponent.low
        places = 2 if width < 1 else 1 if width < 10 else 0
        # Adding 0 turns a rounded -0 into 0.
        value, low, high = (
            f"{round(number, places) + 0.0:.{places}f}"
            for number in (self.exponent.value, self.exponent.low, self.exponent.high)
        )
        return f"L^{value} [{low}, {high}]"

    @property
    def text(self) -> str:
        """`claims L^1, measured L^1.04 [1.00, 1.08]`."""
        claims = "" if self.claim is None else f"claims L^{self.claim:g}, "
        return f"{claims}measured {self.measured}"


def growths(frame: pd.DataFrame) -> list[Growth]:
    """The exponents of every variant in every group of workloads that has lengths enough."""
    return growths_of(rows_of(frame))


def growths_of(rows: Sequence[Row]) -> list[Growth]:
    """The same, of rows."""
    found = [
        _growth(group, variant, quantity)
        for group in grouped(rows)
        for variant in group.variants
        for quantity in _COLUMNS
    ]
    return [one for one in found if one is not None]


def exponent(points: Sequence[Point]) -> Exponent:
    """The exponent of these points (lengths ascending and distinct, values above 0).

    Raises ValueError for fewer than LEAST_LENGTHS points.
    """
    if len(points) < LEAST_LENGTHS:
        raise ValueError(f"an exponent needs {LEAST_LENGTHS} lengths, found {len(points)}")
    at = np.log([point.length for point in points])
    values = np.log([point.value for point in points])
    lows = np.log([point.value if point.low is None else point.low for point in points])
    highs = np.log([point.value if point.high is None else point.high for point in points])
    centred = at - at.mean()
    slope = float(centred @ values / (centred @ centred))
    gaps = np.diff(at)
    local = np.diff(values) / gaps
    ends = [
        *((lows[1:] - highs[:-1]) / gaps),
        *((highs[1:] - lows[:-1]) / gaps),
    ]
    rising = bool((np.diff(local) > LEAST_RISE).all())
    if rising:
        ends.append(float(local[-1] + (local[-1] - local[-2]) / (math.exp(gaps[-1]) - 1)))
    if any(point.low is None or point.high is None for point in points):
        reach = _t_reach(centred, values - values.mean() - slope * centred)
        ends += [slope - reach, slope + reach]
    return Exponent(slope, float(min(ends)), float(max(ends)), rising)


def _t_reach(
    centred: np.ndarray[tuple[int], np.dtype[np.float64]],
    residuals: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> float:
    degrees = len(residuals) - 2
    error = math.sqrt(float(residuals @ residuals) / degrees / float(centred @ centred))
    return _T[min(degrees, len(_T)) - 1] * error


_COLUMNS: dict[Quantity, tuple[str, str | None, str | None]] = {
    "time": ("latency_s", "latency_low_s", "latency_high_s"),
    "memory": ("peak_bytes", "peak_bytes", "peak_bytes"),  # counted: the interval has no width
    "error": ("error", None, None),
}


def _growth(group: Group, variant: str, quantity: Quantity) -> Growth | None:
    value, low, high = _COLUMNS[quantity]
    mine = sorted(
        (row for row in group.rows if row["variant"] == variant), key=lambda row: row[group.axis]
    )
    usable = [row for row in mine if row["status"] == "ok" and row.get(value, 0) > 0]
    if len(usable) < LEAST_LENGTHS:
        return None
    points = [
        Point(int(row[group.axis]), float(row[value]), _end(row, low), _end(row, high))
        for row in usable
    ]
    lengths = tuple(point.length for point in points)
    said = {int(row[group.axis]): str(row["status"]) for row in mine if row["status"] != "ok"}
    missing = tuple(
        (length, said.get(length, "not measured"))
        for length in group.lengths
        if length not in lengths
    )
    claim = _claim(group, usable, quantity)
    return Growth(group, variant, quantity, exponent(points), lengths, missing, claim)


def _end(row: Row, column: str | None) -> float | None:
    found = row.get(column) if column else None
    return None if found is None else float(found)


def _claim(group: Group, rows: Sequence[Row], quantity: Quantity) -> float | None:
    """What all these rows claim; None where they differ, or where queries or keys grow alone."""
    if group["pass"] == "decode" or group["kv_len"] is not None:
        return None
    found = {row.get(f"claimed_{quantity}_growth") for row in rows}
    only = found.pop() if len(found) == 1 else None
    return None if only is None else float(only)
