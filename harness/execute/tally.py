"""Verdicts of many trials, counted, with the interval of the share that was called different."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What one method said of one trial, in how many seconds.

    slowed: the share by which the second kernel was made slower, 0 for a copy of the first.
    """

    method: str
    workload: str
    slowed: float
    verdict: str
    ratio: float
    seconds: float


@dataclass(frozen=True)
class Tally:
    """The answers of one method to all trials of one kind.

    different: `faster` or `slower`; slower: these alone. share, with its 95% interval from low to
    high: of different ones among copies, of slower ones where the copy was made slower.
    """

    method: str
    slowed: float
    trials: int
    different: int
    slower: int
    same: int
    undecided: int
    share: float
    low: float
    high: float
    median_s: float


def tally(answers: Sequence[Answer]) -> list[Tally]:
    """One line a kind of trial and method, in the order in which they first come."""
    kinds = dict.fromkeys((answer.slowed, answer.method) for answer in answers)
    return [
        _tally([a for a in answers if (a.slowed, a.method) == kind])
        for kind in sorted(kinds, key=lambda kind: kind[0])
    ]


def _tally(answers: Sequence[Answer]) -> Tally:
    counts, trials = Counter(answer.verdict for answer in answers), len(answers)
    different = counts["faster"] + counts["slower"]
    counted = counts["slower"] if answers[0].slowed else different
    low, high = clopper_pearson(counted, trials)
    return Tally(
        method=answers[0].method,
        slowed=answers[0].slowed,
        trials=trials,
        different=different,
        slower=counts["slower"],
        same=counts["same"],
        undecided=counts["undecided"],
        share=counted / trials,
        low=low,
        high=high,
        median_s=statistics.median(answer.seconds for answer in answers),
    )


def clopper_pearson(count: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share of which `count` in `trials` were seen.

    Clopper, Pearson 1934 (doi:10.1093/biomet/26.4.404): the shares p at which the upper and the
    lower tail of a binomial are (1 - level) / 2.
    """
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else _root(lambda p: _at_most(count - 1, trials, p) - (1 - tail))
    high = 1.0 if count == trials else _root(lambda p: _at_most(count, trials, p) - tail)
    return low, high


def _at_most(count: int, trials: int, share: float) -> float:
    """P(X <= count), X binomial(trials, share), 0 < share < 1."""
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(
            whole
            - math.lgamma(k + 1)
            - math.lgamma(trials - k + 1)
            + k * math.log(share)
            + (trials - k) * math.log1p(-share)
        )
        for k in range(count + 1)
    )


def _root(falling: Callable[[float], float]) -> float:
    """Where a function that falls from 0 to 1 is zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
