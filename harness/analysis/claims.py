"""The audit of claims: what a run says of the figures that papers state.

A claim names a figure and the range in which it is reproduced, and may name a wider range, its
trend. The figure's interval decides (bytes are counted, errors are of seeded inputs: points):

- all of it in the range: `reproduced`, of simulated cycles `reproduced in our model`,
- all of it in the trend, not all in the range: `trend only`,
- none of it in either: `not reproduced`,
- else the run has not decided it: `not testable here`, as is a figure without an interval, a case
  that did not come out ok, a device that is not there, and what no run can tell; the reason says
  which.

A ratio of times is of paired rounds where one side is the baseline, else the quotient of both
ratios to it (`crossover.log_quotient`). A growth is the exponent of `growth.exponent`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from harness.analysis.crossover import log_quotient
from harness.analysis.groups import Row, in_order, rows_of
from harness.analysis.growth import Point, exponent
from harness.suite.claim import (
    LEAST_POINTS,
    Claim,
    anywhere,
    apart,
    differing,
    position,
    within,
)
from harness.workload import Workload

Outcome = Literal[
    "reproduced", "reproduced in our model", "trend only", "not reproduced", "not testable here"
]
OUTCOMES: tuple[Outcome, ...] = (
    "reproduced", "reproduced in our model", "trend only", "not reproduced", "not testable here"
)  # fmt: skip
Case = tuple[Workload, Row]

_COLUMNS = {"memory": "peak_bytes", "overhead": "peak_bytes", "footprint": "peak_bytes"}
# One draw of the inputs at each length: what scatters between lengths is not known to be less.
_DRAWN = ("error", "deviation", "output_rms")


@dataclass(frozen=True)
class Figure:
    """A figure and its interval, which has no width where it is exact; None where not known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Audit:
    """What became of a claim; `reason` says why it is no more than that."""

    claim: Claim
    outcome: Outcome
    reason: str = ""
    figure: Figure | None = None


class _UntestableError(Exception):
    """There is no figure to hold against the claim; the text says why."""


def audits(frame: pd.DataFrame, claims: Sequence[Claim]) -> list[Audit]:
    """Each claim held against the cases of one run."""
    return audits_of(rows_of(frame), claims)


def audits_of(rows: Sequence[Row], claims: Sequence[Claim]) -> list[Audit]:
    """The same, of rows."""
    cases = [(_workload(row), row) for row in rows] if claims else []
    return [_audit(cases, claim) for claim in claims]


def judged(figure: Figure, claim: Claim) -> Audit:
    """The claim held against its figure."""
    low, high = figure.low, figure.high
    if low is None or high is None:
        reason = f"too few rounds for an interval; {_remedy(claim)}"
        return Audit(claim, "not testable here", reason, figure)
    if within(low, high, claim.allowed):
        simulated = claim.measure == "cycles"
        return Audit(claim, "reproduced in our model" if simulated else "reproduced", "", figure)
    outside = apart(low, high, claim.allowed)
    if claim.trend is not None and within(low, high, claim.trend):
        open_ = f"not decided whether it is as expected; {_remedy(claim)}"
        return Audit(claim, "trend only", "not as expected" if outside else open_, figure)
    if apart(low, high, claim.trend or claim.allowed):
        return Audit(claim, "not reproduced", "", figure)
    wide = f"not decided: the interval reaches beyond what would do; {_remedy(claim)}"
    return Audit(claim, "not testable here", wide, figure)


def _audit(cases: Sequence[Case], claim: Claim) -> Audit:
    if claim.not_testable:
        return Audit(claim, "not testable here", claim.not_testable)
    try:
        if claim.form == "growth":
            return _growth(_asked(cases, claim, claim.of), claim)
        return judged(_figure(cases, claim), claim)
    except _UntestableError as why:
        return Audit(claim, "not testable here", str(why))


def _remedy(claim: Claim) -> str:
    if claim.measure == "time":
        return "a larger measure.budget_s would narrow it"
    return "longer or more lengths would tell"


def _workload(row: Row) -> Workload:
    fields = Workload.model_fields.items()
    names = [field.alias or name for name, field in fields]
    return Workload.model_validate({name: row[name] for name in names if name in row})


def _figure(cases: Sequence[Case], claim: Claim) -> Figure:
    workload, first = _one(_asked(cases, claim, claim.of), claim)
    if claim.form == "value":
        return _value(first, workload, claim)
    _, second = _one(_asked(cases, claim, claim.over), claim)
    if claim.measure == "time":
        _value(first, workload, claim), _value(second, workload, claim)
        middle, low, high = map(math.exp, log_quotient(first, second))
        known = low > 0 and high < math.inf
        return Figure(middle, low if known else None, high if known else None)
    one, other = (_value(row, workload, claim).value for row in (first, second))
    if not other > 0:
        raise _UntestableError(f"the {claim.measure} of {claim.over} is {other:g}")
    return Figure(one / other, one / other, one / other)


def _growth(cases: Sequence[Case], claim: Claim) -> Audit:
    """The exponent along the axis, over the cases that came out ok."""
    others = differing([workload for workload, _ in cases], claim.along)
    if others:
        raise _UntestableError(f"the run has several such sweeps, which differ in {others[0]}")
    points, missing = [], []
    for workload, row in sorted(cases, key=lambda case: position(case[0], claim.along) or 0):
        at = position(workload, claim.along)
        assert at is not None  # the suite was read so that it has one
        if row["status"] == "ok":
            figure = _value(row, workload, claim)
            if not figure.value > 0:
                raise _UntestableError(f"the {claim.measure} at {claim.along} {at} is 0")
            ends = (None, None) if claim.measure in _DRAWN else (figure.low, figure.high)
            points.append(Point(at, figure.value, *ends))
        else:
            missing.append(f"{at} ({row['status']})")
    without = f"without {claim.along} {', '.join(missing)}" if missing else ""
    if len(points) < LEAST_POINTS:
        found = f"{len(points)} of {LEAST_POINTS} points that an exponent needs"
        raise _UntestableError(", ".join(filter(None, [found, without])))
    slope = exponent(points)
    audit = judged(Figure(slope.value, slope.low, slope.high), claim)
    return replace(audit, reason="; ".join(filter(None, [audit.reason, without])))


def _asked(cases: Sequence[Case], claim: Claim, variant: str) -> list[Case]:
    """The cases of a variant on the workloads that the claim names; raises if there are none."""
    mine = [case for case in cases if case[1]["variant"] == variant]
    if not mine:
        raise _UntestableError(f"the run has no case of {variant}")
    kept = [case for case in mine if claim.condition.keeps(case[0])]
    if not kept:
        elsewhere = [case for case in mine if anywhere(claim.condition).keeps(case[0])]
        devices = " and ".join(in_order(workload.device for workload, _ in elsewhere))
        said = f"the run was on {devices}" if elsewhere else "the run has no such workload"
        raise _UntestableError(f"asks for {claim.where}; {said}")
    return kept


def _one(cases: Sequence[Case], claim: Claim) -> Case:
    if len(cases) > 1:
        raise _UntestableError(f"the run has {len(cases)} workloads where {claim.where}")
    _, row = cases[0]
    if row["status"] != "ok":
        reason = f": {row['reason']}" if "reason" in row else ""
        raise _UntestableError(f"{row['variant']} was {row['status']}{reason}")
    return cases[0]


def _value(row: Row, workload: Workload, claim: Claim) -> Figure:
    """The measure of one case; raises where it was not measured."""
    if claim.measure == "time" and "latency_s" in row:
        return Figure(row["latency_s"], row.get("latency_low_s"), row.get("latency_high_s"))
    column = _COLUMNS.get(claim.measure, claim.measure)
    if column not in row:
        raise _UntestableError(f"the run did not measure the {claim.measure} of {row['variant']}")
    value = float(row[column])
    if claim.measure == "overhead":
        value -= row["output_bytes"]
    if claim.measure == "footprint":
        value += workload.input_bytes()
    return Figure(value, value, value)
