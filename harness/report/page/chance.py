"""How many verdicts chance alone makes wrong, and what the controls say of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis.groups import in_order, rows_of
from harness.report.ranking import Comparisons

# A run whose controls go beyond this quantile of chance is not to be believed as it stands.
LIMIT = 0.99


@dataclass(frozen=True)
class Control:
    """What one run said of two copies of its baseline."""

    run: str
    blocks: int
    different: int
    undecided: int
    alpha: float
    limit: int

    @property
    def alarming(self) -> bool:
        """More copies called different than chance explains."""
        return self.different > self.limit

    @property
    def text(self) -> str:
        """The line of the page."""
        open_ = f", {self.undecided} undecided" if self.undecided else ""
        return (
            f"A/A: {self.blocks} blocks, two copies of the baseline called different "
            f"{self.different} {'time' if self.different == 1 else 'times'}{open_} (nominal "
            f"alpha {self.alpha:g}: at most about {self.blocks * self.alpha:.1f} expected; up to "
            f"{self.limit} is chance at {LIMIT:.0%})."
        )


def controls_of(frame: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]]) -> list[Control]:
    """The controls of each run that has any with a verdict."""
    rows = [row for row in rows_of(frame) if row.get("verdict")]
    made = []
    for run in in_order(str(row["run"]) for row in rows):
        verdicts = [row["verdict"] for row in rows if row["run"] == run]
        different = sum(verdict in ("faster", "slower") for verdict in verdicts)
        alpha = measure_of(manifests, run)["alpha"]
        limit = binomial_limit(len(verdicts), alpha, LIMIT)
        undecided = verdicts.count("undecided")
        made.append(Control(run, len(verdicts), different, undecided, alpha, limit))
    return made


def binomial_limit(trials: int, share: float, level: float) -> int:
    """The smallest k with P(X <= k) >= level, X binomial(trials, share)."""
    below = 0.0
    for count in range(trials + 1):
        below += math.comb(trials, count) * share**count * (1 - share) ** (trials - count)
        if below >= level:
            return count
    return trials


def expectation(found: Sequence[Comparisons], manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """How many comparisons are shown and how many false verdicts to expect: n * alpha.

    A suite that races familywise holds alpha for a whole block, so there it is blocks * alpha.
    """
    count = sum(one.verdicts for one in found)
    if not count:
        return ""
    false, levels = 0.0, []
    for one in found:
        measure = measure_of(manifests, one.run)
        whole = bool(measure.get("familywise"))
        false += (one.blocks if whole else one.verdicts) * measure["alpha"]
        levels.append(f"{measure['alpha']:g} {'a block' if whole else 'a comparison'}")
    noun = "comparison is" if count == 1 else "comparisons are"
    return (
        f"{count} {noun} shown; at alpha {' and '.join(in_order(levels))}, chance alone gives up "
        f"to about {false:.1f} false verdicts of faster or slower."
    )


def measure_of(manifests: Mapping[str, Mapping[str, Any]], run: str) -> dict[str, Any]:
    """How a run was measured: margin, alpha, launches, budget."""
    return dict(manifests[run]["suite"]["measure"])
