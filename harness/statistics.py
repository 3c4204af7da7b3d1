"""Statistics of a race: pure functions on samples.

A race looks at its paired log-ratios when their number has doubled. Look k uses an exact
binomial (order-statistic) interval for the median at level alpha / (k (k + 1)); these levels sum
to alpha, so the interval holds at whichever look the race stops. Values are medians of
consecutive rounds where that is needed to make them all but independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["faster", "slower", "same", "undecided"]
Samples = Sequence[float] | NDArray[np.float64]

FIRST_LOOK = 8
"""Values in the first look: the fewest whose whole range is a 99% interval for the median."""
NEAR = math.log(1.15)
"""Beyond this log-ratio, and five spreads of the noise, single rounds decide an effect."""
SPREADS = 5
"""Eight rounds of AR(1) 0.8 noise stray together by three spreads; by five hardly ever.

More rounds stray less, by the square root of their number."""
STRONGEST = 0.8
"""Correlation of rounds that is allowed for where they are too few to tell it."""
BATCH = 4
"""Rounds a value near 1, at the least."""
RESIDUAL = 0.1
"""Correlation that consecutive values may keep: it widens the error of a median by 10%."""
MOST_VALUES = 32
"""Values near 1: more rounds make longer batches, not more of them."""


@dataclass(frozen=True)
class Look:
    """What one look saw: an estimate of the median and its interval."""

    number: int
    rounds: int
    batch: int
    estimate: float
    low: float
    high: float


@cache
def _order(count: int, alpha: float) -> int | None:
    """The largest r with 2 P(Binomial(count, 1/2) < r) <= alpha; None when there is none."""
    tail, rank = 0.0, 0
    while rank < count // 2 + 1:
        tail += math.comb(count, rank) / 2**count
        if 2 * tail > alpha:
            break
        rank += 1
    return rank or None


def median_interval(values: Samples, alpha: float) -> tuple[float, float] | None:
    """Exact interval of the median of independent values at level 1 - alpha.

    None when there are too few values for that level: 2 * 2**-n > alpha.
    """
    rank = _order(len(values), alpha)
    if rank is None:
        return None
    ordered = np.sort(np.asarray(values))
    return float(ordered[rank - 1]), float(ordered[-rank])


def autocorrelation(values: Samples) -> float:
    """Lag-1 autocorrelation, from the signs about the median, so that outliers do not hide it.

    For a Gaussian process the correlation of signs is (2 / pi) asin(rho); that is undone here.
    """
    data = np.asarray(values)
    signs = np.sign(data - np.median(data))
    if len(signs) < 3 or not signs.any():
        return 0.0
    raw = float(np.sum(signs[1:] * signs[:-1]) / np.sum(signs * signs))
    return math.sin(math.pi / 2 * max(-1.0, min(1.0, raw)))


def batch_length(log_ratios: Samples) -> int:
    """Consecutive rounds that make one value.

    One while the estimate lies beyond 1.15x either way and beyond 5 sqrt(8 / rounds) spreads of
    single rounds. Nearer to 1: max(4, rounds / 32), and more where the autocorrelation may be
    large. Means of b samples of AR(1) rho correlate by about rho / (b (1 - rho**2)), which is to
    be at most 0.1; rho is the highest that the rounds allow for.
    """
    data, rounds = np.asarray(log_ratios), len(log_ratios)
    if _far(data):
        return 1
    return max(BATCH, rounds // MOST_VALUES, _decorrelating(_highest_autocorrelation(data)))


def widening(values: Samples) -> float:
    """How much wider the interval of correlated rounds is than that of independent ones.

    sqrt((1 + rho) / (1 - rho)), as for the mean of AR(1) rho; rho is the highest that the rounds
    allow for, at most 0.8: eight rounds tell nothing, so that their interval is 3 times as wide.
    """
    rho = max(0.0, min(STRONGEST, _highest_autocorrelation(values)))
    return math.sqrt((1 + rho) / (1 - rho))


def _highest_autocorrelation(values: Samples) -> float:
    """Two standard errors above the estimate, since few rounds tell it poorly."""
    # Signs have the standard error 1 / sqrt(rounds); undoing the arcsine makes it pi / 2 larger.
    return autocorrelation(values) + 2 * math.pi / 2 / math.sqrt(len(values))


def _far(data: NDArray[np.float64]) -> bool:
    middle = float(np.median(data))
    # The median deviation of Gaussian noise is its standard deviation over 1.4826.
    spread = 1.4826 * float(np.median(np.abs(data - middle)))
    # As rounds come in, their median strays less: by the square root of their number.
    strays = SPREADS * spread * math.sqrt(FIRST_LOOK / len(data))
    return abs(middle) > max(NEAR, strays)


def _decorrelating(rho: float) -> int:
    bounded = min(rho, 0.95)
    return max(1, math.ceil(bounded / (1 - bounded**2) / RESIDUAL))


def log_ratios(times: Sequence[float], baseline: Sequence[float]) -> NDArray[np.float64]:
    """Log of time over the baseline's time in the same round."""
    rounds = min(len(times), len(baseline))
    paired: NDArray[np.float64] = np.log(np.asarray(times[:rounds]) / np.asarray(baseline[:rounds]))
    return paired


def batch_medians(values: Samples, length: int) -> NDArray[np.float64]:
    """Medians of consecutive runs of `length` values; an incomplete last run is left out."""
    whole = len(values) // length
    runs = np.asarray(values)[: whole * length].reshape(whole, length)
    medians: NDArray[np.float64] = np.median(runs, axis=1)
    return medians


def look_rounds(rounds: int) -> list[int]:
    """When looks are taken in a race of so many rounds: 8, 16, 32, ... and at its end."""
    taken = []
    at = FIRST_LOOK
    while at <= rounds:
        taken.append(at)
        at *= 2
    if taken and taken[-1] != rounds:
        taken.append(rounds)
    return taken


def look(values: Samples, number: int, alpha: float) -> Look | None:
    """Look `number` at these values; None when they are too few for its level."""
    length = batch_length(values)
    medians = batch_medians(values, length)
    if len(medians) < FIRST_LOOK:
        return None
    interval = _interval(medians, alpha / (number * (number + 1)), single=length == 1)
    if interval is None:
        return None
    return Look(number, len(values), length, float(np.median(medians)), *interval)


def _interval(values: Samples, alpha: float, *, single: bool) -> tuple[float, float] | None:
    """The interval of the median; that of single rounds, which may be correlated, widened."""
    found = median_interval(values, alpha)
    if found is None or not single:
        return found
    middle, factor = float(np.median(values)), widening(values)
    return middle + factor * (found[0] - middle), middle + factor * (found[1] - middle)


def last_look(values: Samples, alpha: float) -> Look | None:
    """The look that a race of these values ended with, its predecessors counted."""
    found, number = None, 1
    for rounds in look_rounds(len(values)):
        seen = look(values[:rounds], number, alpha)
        if seen is not None:
            found, number = seen, number + 1
    return found


def judge(estimate: float, low: float, high: float, margin: float) -> Verdict:
    """The verdict of a log-ratio to the baseline with its interval.

    `faster`, `slower`: the interval leaves out 0 and the estimate lies beyond the margin.
    `same`: the interval lies inside the margin. Else `undecided`.
    """
    edge = math.log1p(margin)
    if high < 0 and estimate < -edge:
        return "faster"
    if low > 0 and estimate > edge:
        return "slower"
    return "same" if -edge < low and high < edge else "undecided"


def rounds_to_decide(seen: Look, margin: float) -> int:
    """About how many rounds would decide what a look left undecided.

    Intervals narrow by the square root of the rounds. An estimate inside the margin needs an
    interval inside it too; one beyond needs an interval that leaves out 0. The nearer the
    estimate lies to the margin, the more rounds; at it, no number is enough, and this grows
    without bound.
    """
    edge, size = math.log1p(margin), abs(seen.estimate)
    room = edge - size if size < edge else size
    reach = max(seen.high - seen.estimate, seen.estimate - seen.low)
    factor = (reach / max(room, edge / 100)) ** 2
    return math.ceil(seen.rounds * max(factor, 2.0))  # the next look comes at twice the rounds


@dataclass(frozen=True)
class Combined:
    """Several launches as one: the median of the estimates, the hull of the intervals."""

    estimate: float
    low: float
    high: float
    verdict: Verdict


def combine(looks: Sequence[Look], margin: float) -> Combined | None:
    """The hull of the launches' intervals; launches that disagree are `undecided`.

    Each look must have been taken at alpha / launches, so that the hull holds at alpha.
    """
    if not looks:
        return None
    estimate = float(np.median([seen.estimate for seen in looks]))
    low, high = min(seen.low for seen in looks), max(seen.high for seen in looks)
    verdicts = {judge(seen.estimate, seen.low, seen.high, margin) for seen in looks}
    decided = verdicts - {"undecided"}
    whole = judge(estimate, low, high, margin)
    return Combined(estimate, low, high, whole if len(decided) <= 1 else "undecided")


def location(times: Samples, alpha: float) -> tuple[float, float | None, float | None]:
    """Median of the times of one launch and its interval at 1 - alpha.

    Batched where there are rounds enough; single rounds, widened, below that; absent below eight.
    """
    data = np.log(np.asarray(times))
    middle = float(np.median(data))
    seen = last_look(data - middle, alpha)
    if seen is not None:
        # The last look with batches enough may be an early one, and times that drift have left it.
        low, high = middle + min(seen.low, 0.0), middle + max(seen.high, 0.0)
        return math.exp(middle), math.exp(low), math.exp(high)
    interval = _interval(data, alpha, single=True)
    if interval is None:
        return math.exp(middle), None, None
    return math.exp(middle), math.exp(interval[0]), math.exp(interval[1])
