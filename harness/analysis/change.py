"""Has a latency changed between two runs? Pure functions on the samples of their launches.

Two runs are made at different times, and a machine may run at half its speed for seconds: that
one time is longer than another proves nothing. So `slower` (`faster` likewise) needs two things.

1. Seconds: the quotient of the two hulls, each over the launches of a run, widened by the
   yardstick, which is how far apart the machine's own rates lie in the two runs.
2. A witness: the ratio to the block's baseline, in which drift cancels. Where there is a yardstick
   it must not speak against it, unless the baseline moved as well; where there is none it must be
   slower itself.

`same` needs the quotient inside the margin before it is widened, and that neither the ratio nor the
yardstick is known to lie outside it: a change and the machine's drift may cancel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.records.schema import Launch
from harness.roofline import Ceilings
from harness.statistics import Verdict, judge, last_look, location, log_ratios

Why = Literal["rounds", "machine", "baseline", "alone", "launches", "margin"]
"""Why a change is undecided. rounds: too few for an interval. machine: the yardsticks lie apart.
baseline: the ratio to the baseline speaks against it. alone: there is nothing to hold it against.
launches: those of one run lie apart. margin: the interval is too wide for it."""


@dataclass(frozen=True)
class Span:
    """A quantity of one run: the estimate of each launch, and the hull of their intervals."""

    launches: tuple[float, ...]
    low: float | None
    high: float | None

    @property
    def middle(self) -> float:
        """The median of the launches."""
        return float(np.median(self.launches))

    @property
    def spread(self) -> float:
        """The highest estimate of a launch over the lowest."""
        return max(self.launches) / min(self.launches)

    @property
    def width(self) -> float:
        """The hull's width in the logarithm."""
        return math.log(self.high / self.low) if self.low and self.high else math.inf


@dataclass(frozen=True)
class Change:
    """How many times the quantity of run A run B has, with its interval where both have one."""

    ratio: float
    low: float | None = None
    high: float | None = None

    def widened(self, factor: float) -> Change:
        """The interval, longer by this factor on both sides."""
        if self.low is None or self.high is None:
            return self
        return Change(self.ratio, self.low / factor, self.high * factor)

    def verdict(self, margin: float) -> Verdict:
        """The verdict of B against A on this quantity alone."""
        if self.low is None or self.high is None:
            return "undecided"
        return judge(math.log(self.ratio), math.log(self.low), math.log(self.high), margin)

    def reaches(self, low: float, high: float) -> bool:
        """True when the interval and this one have a value in common, or it has none."""
        return self.low is None or self.high is None or (self.low <= high and low <= self.high)

    def is_outside(self, margin: float) -> bool:
        """True when no value of the interval lies inside the margin."""
        return not self.reaches(1 / (1 + margin), 1 + margin)


@dataclass(frozen=True)
class Yardstick:
    """How many times slower the machine was in B: by matrix products and by copies.

    Each is a Change of the median rate; its interval is between the launches furthest apart.
    """

    matmul: Change
    copy: Change

    @property
    def furthest(self) -> float:
        """How many times slower it may have been, by the rates that lie furthest apart."""
        ends = [end for rate in (self.matmul, self.copy) for end in (rate.low, rate.high) if end]
        return max(ends, key=lambda end: abs(math.log(end)), default=1.0)

    @property
    def widening(self) -> float:
        """The factor by which an interval of seconds is widened."""
        return max(self.furthest, 1 / self.furthest)

    def has_moved(self, margin: float) -> bool:
        """True when no pair of launches saw the same speed."""
        return self.matmul.is_outside(margin) or self.copy.is_outside(margin)


@dataclass(frozen=True)
class Evidence:
    """All that speaks about the latency of one case.

    seconds: of the case. relative: of its ratio to the block's baseline, None for the baseline.
    yardstick: None without one in both runs. block: seconds of the baseline, None without one.
    """

    seconds: Change
    relative: Change | None = None
    yardstick: Yardstick | None = None
    block: Change | None = None

    @property
    def widened(self) -> Change:
        """The change of seconds that the machine's drift leaves."""
        return self._less_drift(self.seconds)

    def verdict(self, margin: float) -> Verdict:
        """`faster`, `slower`, `same` or `undecided`, by the rule of this module."""
        if self.seconds.verdict(margin) == "same":
            return "undecided" if self._masked(margin) else "same"
        moved = self.widened.verdict(margin)
        return moved if moved != "undecided" and self._has_witness(moved, margin) else "undecided"

    def why(self, margin: float, spans: tuple[Span, Span]) -> Why | None:
        """Why the verdict is undecided; None where it is not. spans: of A and B, in seconds."""
        if self.verdict(margin) != "undecided":
            return None
        if self.seconds.low is None:
            return "rounds"
        alone = self.seconds.verdict(margin)
        if alone == "same":
            return self._masked(margin)
        if alone == "undecided":
            wider = max(spans, key=lambda span: span.width)
            return "launches" if math.log(wider.spread) > wider.width / 2 else "margin"
        if self.widened.verdict(margin) == "undecided":
            return "machine"
        return "alone" if self.relative is None else "baseline"

    def _masked(self, margin: float) -> Why | None:
        """What says that a change is hidden behind times that are the same."""
        if self.yardstick is not None and self.yardstick.has_moved(margin):
            return "machine"
        is_outside = self.relative is not None and self.relative.is_outside(margin)
        return "baseline" if is_outside and not self._block_moved(margin) else None

    def _block_moved(self, margin: float) -> Verdict | None:
        """Which way the baseline moved, where a yardstick says that the machine did not."""
        if self.yardstick is None or self.block is None:
            return None
        moved = self._less_drift(self.block).verdict(margin)
        return moved if moved in ("faster", "slower") else None

    def _has_witness(self, moved: Verdict, margin: float) -> bool:
        if self._block_moved(margin) == moved:
            return True
        if self.relative is None:
            return False
        if self.yardstick is not None:
            return self._agrees(self.relative, margin)
        return self.relative.verdict(margin) == moved

    def _agrees(self, relative: Change, margin: float) -> bool:
        """The ratio lies beyond the margin on the same side, and reaches the seconds' interval."""
        away, low, high = math.log(relative.ratio), self.seconds.low, self.seconds.high
        same_side = away * math.log(self.seconds.ratio) > 0 and abs(away) > math.log1p(margin)
        return same_side and low is not None and high is not None and relative.reaches(low, high)

    def _less_drift(self, change: Change) -> Change:
        return change if self.yardstick is None else change.widened(self.yardstick.widening)


def seconds_span(launches: Sequence[Launch], alpha: float) -> Span:
    """Latency of a run: medians of its launches, and the hull of their intervals.

    Each interval is taken at alpha / (2 launches), so that a quotient of two runs holds at alpha.
    """
    level = alpha / 2 / len(launches)
    return _hull([location(launch.rounds_s, level) for launch in launches])


def ratio_span(launches: Sequence[Launch], baselines: Sequence[Launch], alpha: float) -> Span:
    """The ratio to the baseline over paired rounds, likewise."""
    pairs = [
        log_ratios(mine.rounds_s, its.rounds_s)
        for mine, its in zip(launches, baselines, strict=False)
    ]
    found: list[tuple[float, float | None, float | None]] = []
    for values in pairs:
        seen = last_look(values, alpha / 2 / len(pairs))
        if seen is None:
            found.append((math.exp(float(np.median(values))), None, None))
        else:
            found.append((math.exp(seen.estimate), math.exp(seen.low), math.exp(seen.high)))
    return _hull(found)


def quotient(one: Span, other: Span, alpha: float) -> Change:
    """B over A with its interval at 1 - alpha: [B.low / A.high, B.high / A.low].

    The hulls are those of the launches' intervals, or of their estimates alone where there are
    enough launches: m values all lie beyond n others of the same kind once in C(m + n, n) times.
    """
    ratio = other.middle / one.middle
    if 2 / math.comb(len(one.launches) + len(other.launches), len(one.launches)) <= alpha:
        a, b = one.launches, other.launches
        return Change(ratio, min(b) / max(a), max(b) / min(a))
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Change(ratio)
    return Change(ratio, other.low / one.high, other.high / one.low)


def yardstick(one: Sequence[Ceilings], other: Sequence[Ceilings]) -> Yardstick | None:
    """How much slower the machine was in B; None where a run has no rates.

    Between the launches that lie furthest apart, since what was seen beside one need not have
    lasted.
    """
    if not one or not other:
        return None
    rates = ("matmul_flops_per_s", "copy_bytes_per_s")
    return Yardstick(*(_slower(one, other, rate) for rate in rates))


def _slower(one: Sequence[Ceilings], other: Sequence[Ceilings], rate: str) -> Change:
    a, b = ([getattr(ceilings, rate) for ceilings in run] for run in (one, other))
    return Change(float(np.median(a) / np.median(b)), min(a) / max(b), max(a) / min(b))


def _hull(found: Sequence[tuple[float, float | None, float | None]]) -> Span:
    middles = tuple(middle for middle, _, _ in found)
    lows = [low for _, low, _ in found if low is not None]
    highs = [high for _, _, high in found if high is not None]
    if len(lows) < len(found) or len(highs) < len(found):
        return Span(middles, None, None)
    return Span(middles, min(lows), max(highs))
