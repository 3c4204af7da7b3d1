"""Where one variant overtakes another: crossover lengths between pairs, with their intervals.

At each length that both came out ok, the log-ratio of the two latencies with an interval: the
paired ratio where one of them is the block's baseline, else the quotient of their ratios to it,
its ends the least and the greatest quotient that the two intervals allow (conservative: the
rounds that they share are not used). Where a ratio has no interval, or there is no baseline, the
quotient of the latencies, likewise.

Two variants are told apart at a length where that interval leaves out 1. They cross between two
lengths at which they are told apart with different winners; the crossover is interpolated there,
straight in log length and log ratio, as are the ends of its interval: the lengths at which the
interval of the ratio begins and ceases to hold 1. What interpolation cannot know, a kernel that
changes its blocks in between, stays within `between`, the two lengths themselves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from harness.analysis.groups import Group, Row, grouped, rows_of

Outcome = Literal["crosses", "none", "not known"]


@dataclass(frozen=True)
class Step:
    """The log of first latency over second at a length; infinite ends where not known."""

    length: int
    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """-1 where the first variant is quicker, 1 where the second is, 0 where not told apart."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True)
class Crossing:
    """Where the quicker of two changes: `below` it one variant, `above` it the other."""

    length: float
    low: float
    high: float
    between: tuple[int, int]
    below: str
    above: str

    @property
    def text(self) -> str:
        """`710 [640, 790]`, in tokens."""
        return f"{self.length:.0f} [{self.low:.0f}, {self.high:.0f}]"


@dataclass(frozen=True)
class Rivals:
    """Two variants over the lengths that both came out ok.

    `quicker` is the one that is quicker at all of them, told apart at each; `open` are the
    lengths at which they are not told apart.
    """

    group: Group
    first: str
    second: str
    lengths: tuple[int, ...]
    crossings: tuple[Crossing, ...]
    open: tuple[int, ...]
    quicker: str | None

    @property
    def outcome(self) -> Outcome:
        """`crosses`, `none` in the range measured, or `not known`."""
        if self.crossings:
            return "crosses"
        return "none" if self.quicker else "not known"

    @property
    def text(self) -> str:
        """The answer in words."""
        span = f"{self.lengths[0]} to {self.lengths[-1]}"
        if self.crossings:
            parts = [f"{c.below} quicker below {c.text}, {c.above} above" for c in self.crossings]
            return "; ".join(parts)
        if self.quicker:
            return f"none in the range measured: {self.quicker} quicker from {span}"
        return f"not known: not told apart at {', '.join(map(str, self.open))}"


def crossovers(frame: pd.DataFrame) -> list[Rivals]:
    """Every pair of variants of every group that shares two lengths or more."""
    return crossovers_of(rows_of(frame))


def crossovers_of(rows: Sequence[Row]) -> list[Rivals]:
    """The same, of rows."""
    found = [
        _pair(group, first, second)
        for group in grouped(rows)
        for first, second in itertools.combinations(group.variants, 2)
    ]
    return [pair for pair in found if pair is not None]


def crossings(steps: Sequence[Step], first: str, second: str) -> list[Crossing]:
    """The changes of the quicker one over these steps, lengths ascending."""
    known = [at for at, step in enumerate(steps) if step.sign]
    return [
        _crossing(steps[a : b + 1], *((first, second) if steps[a].sign < 0 else (second, first)))
        for a, b in itertools.pairwise(known)
        if steps[a].sign != steps[b].sign
    ]


def _pair(group: Group, first: str, second: str) -> Rivals | None:
    timed = {
        (row["variant"], int(row[group.axis])): row
        for row in group.rows
        if row["status"] == "ok" and row.get("latency_s") is not None
    }
    steps = [
        Step(length, *log_quotient(timed[first, length], timed[second, length]))
        for length in group.lengths
        if (first, length) in timed and (second, length) in timed
    ]
    if len(steps) < 2:
        return None
    signs = {step.sign for step in steps}
    quicker = first if signs == {-1} else second if signs == {1} else None
    return Rivals(
        group,
        first,
        second,
        tuple(step.length for step in steps),
        tuple(crossings(steps, first, second)),
        tuple(step.length for step in steps if not step.sign),
        quicker,
    )


def log_quotient(first: Row, second: Row) -> tuple[float, float, float]:
    """Log of the first latency over the second, of one block; infinite ends where not known."""
    one, other = _log_ratio(first), _log_ratio(second)
    if not all(math.isfinite(end) for end in (*one, *other)):
        one, other = _log_latency(first), _log_latency(second)
    return one[0] - other[0], one[1] - other[2], one[2] - other[1]


def _log_ratio(row: Row) -> tuple[float, float, float]:
    if row.get("is_baseline"):
        return 0.0, 0.0, 0.0
    return _logs(row.get("ratio"), row.get("ratio_low"), row.get("ratio_high"))


def _log_latency(row: Row) -> tuple[float, float, float]:
    return _logs(row["latency_s"], row.get("latency_low_s"), row.get("latency_high_s"))


def _logs(value: float | None, low: float | None, high: float | None) -> tuple[float, float, float]:
    return (
        math.log(value) if value else math.nan,
        math.log(low) if low else -math.inf,
        math.log(high) if high else math.inf,
    )


def _crossing(steps: Sequence[Step], below: str, above: str) -> Crossing:
    """Of steps whose first and last are told apart, with different winners."""
    turn = steps[-1].sign
    places = _zeros(steps, [turn * step.value for step in steps])
    # With the sign turned so that the ratio rises, its interval reaches 1 with its upper end and
    # leaves it with its lower end: once each, since nothing in between is told apart.
    tops = [turn * (step.high if turn > 0 else step.low) for step in steps]
    bottoms = [turn * (step.low if turn > 0 else step.high) for step in steps]
    return Crossing(
        # Noise may carry the estimate across 1 several times: the middle of the first and last.
        math.exp((places[0] + places[-1]) / 2),
        math.exp(_zeros(steps, tops)[0]),
        math.exp(_zeros(steps, bottoms)[0]),
        (steps[0].length, steps[-1].length),
        below,
        above,
    )


def _zeros(steps: Sequence[Step], values: Sequence[float]) -> list[float]:
    """Log lengths at which a line through these values crosses 0, coming from below or above."""
    found = []
    for (a, x), (b, y) in itertools.pairwise(zip(steps, values, strict=True)):
        if (x < 0) != (y < 0):
            start, end = math.log(a.length), math.log(b.length)
            if math.isinf(x) or math.isinf(y):
                # An end that is not known lies anywhere: the crossing may be at the other length.
                found.append(start if math.isinf(y) else end)
            else:
                found.append(start + (end - start) * -x / (y - x))
    return found
