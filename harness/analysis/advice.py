"""What would decide a comparison that is undecided."""

from __future__ import annotations

import math

from harness.analysis.change import Why
from harness.analysis.compare import Comparison

_MEANS: dict[Why, str] = {
    "rounds": "too few rounds for an interval",
    "margin": "the interval is too wide for the margin",
    "launches": "the launches of one run lie apart",
    "machine": "the machine ran at another speed, by the yardstick beside the races",
    "baseline": "the ratio to the baseline does not bear it out",
    "alone": "nothing shows that it was not the machine",
}
"""What each reason says of a case."""


def meaning(why: Why) -> str:
    """The reason in words."""
    return _MEANS[why]


def remedy(why: Why, comparison: Comparison) -> str:
    """What to do so that the next comparison is decided."""
    if why in ("rounds", "margin"):
        return _more(comparison)
    if why == "machine":
        return "run both again, one right after the other"
    if why == "launches":
        return "run both again on a quieter machine; `attnbench machine` says what disturbs it"
    if comparison.no_yardstick:
        which = " and ".join(map(str, comparison.no_yardstick))
        return f"run {which} again: this version measures the machine beside each race"
    if why == "alone":
        return "compare runs whose blocks have one baseline that runs in both"
    return "run both again, one right after the other, to see whether it stays"


def enough_launches(alpha: float) -> int:
    """The fewest launches a run from which two runs are told apart by launches alone.

    n values all lie beyond n others of the same kind, on either side, 2 times in C(2n, n).
    """
    count = 2
    while 2 / math.comb(2 * count, count) > alpha:
        count += 1
    return count


def _more(comparison: Comparison) -> str:
    enough = enough_launches(comparison.rules.alpha)
    if min(measure["launches"] for measure in comparison.measures) < enough:
        return f"run both again with --set measure.launches={enough}"
    budget = 2 * max(measure.get("budget_s", 10.0) for measure in comparison.measures)
    return f"run both again with --set measure.budget_s={budget:g}, or take a wider --margin"
