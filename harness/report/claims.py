"""Claims and what became of them, as text: a line each, for a terminal, a page and exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis.claims import OUTCOMES, Audit, Figure, Outcome, audits
from harness.report.numbers import (
    ABSENT,
    MOST_DIGITS,
    PLAIN_DIGITS,
    digits_known,
    plain,
    rounded,
    seconds,
    size,
)
from harness.suite import Claim

# Marks are shapes, so that an outcome is read without colour.
MARKS: dict[Outcome, str] = {
    "reproduced": "✓",
    "reproduced in our model": "≅",
    "trend only": "~",
    "not reproduced": "✗",
    "not testable here": ABSENT,
}
_BYTES = ("memory", "overhead", "footprint")


@dataclass(frozen=True)
class Line:
    """One claim as a reader wants it."""

    claim: str
    source: str
    quantity: str
    where: str
    expected: str
    trend: str
    measured: str
    outcome: Outcome
    reason: str
    note: str

    @property
    def mark(self) -> str:
        """The sign of the outcome."""
        return MARKS[self.outcome]

    @property
    def said(self) -> str:
        """The outcome with its reason: `not testable here: needs a GPU`."""
        return f"{self.outcome}: {self.reason}" if self.reason else self.outcome


@dataclass(frozen=True)
class Sheet:
    """The claims of one run, and how many ended how."""

    run: str
    lines: tuple[Line, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many ended how, in the fixed order, those with none left out."""
        found = Counter(line.outcome for line in self.lines)
        return {name: found[name] for name in OUTCOMES if found[name]}

    @property
    def summary(self) -> str:
        """`3 reproduced, 1 trend only, 1 not testable here`."""
        return ", ".join(f"{count} {name}" for name, count in self.counts.items())


def claims_of(manifest: Mapping[str, Any]) -> list[Claim]:
    """The claims that a run was made with; none where its suite makes none."""
    return [Claim.model_validate(given) for given in manifest["suite"].get("claims", ())]


def audited(
    frame: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[Audit]]:
    """What became of the claims of each run that makes some, by the name of the run."""
    made = {run: claims_of(manifest) for run, manifest in manifests.items()}
    return {run: audits(frame[frame["run"] == run], own) for run, own in made.items() if own}


def sheets(frame: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]]) -> list[Sheet]:
    """A sheet for each run that makes claims."""
    found = audited(frame, manifests)
    return [Sheet(run, tuple(_line(one) for one in audits)) for run, audits in found.items()]


def table(frame: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row a claim, numbers as numbers: what an export writes."""
    rows = [
        _row(run, audit) for run, audits in audited(frame, manifests).items() for audit in audits
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = """
    run claim source outcome reason measured measured_low measured_high expected_low expected_high
    trend_low trend_high quantity of over along where note
""".split()


def _row(run: str, audit: Audit) -> dict[str, Any]:
    claim, figure = audit.claim, audit.figure
    row: dict[str, Any] = {"run": run, "outcome": audit.outcome, "reason": audit.reason or None}
    texts = ("claim", "source", "quantity", "of", "over", "along", "where", "note")
    row |= {name: getattr(claim, name) or None for name in texts}
    if claim.quantity:
        row["expected_low"], row["expected_high"] = claim.allowed
    if claim.trend is not None:
        row["trend_low"], row["trend_high"] = claim.trend
    if figure is not None:
        row["measured"] = figure.value
        row["measured_low"], row["measured_high"] = figure.low, figure.high
    return row


def _line(audit: Audit) -> Line:
    claim = audit.claim
    return Line(
        claim.claim,
        claim.source,
        _quantity(claim),
        claim.where,
        _expected(claim) if claim.quantity else ABSENT,
        _range(claim, claim.trend) if claim.trend else "",
        ABSENT if audit.figure is None else _measured(claim, audit.figure),
        audit.outcome,
        audit.reason,
        claim.note,
    )


def _quantity(claim: Claim) -> str:
    """`memory of softmax over chunked`, `time of softmax along q_len`."""
    if not claim.quantity:
        return ABSENT
    other = {"ratio": f" over {claim.over}", "growth": f" along {claim.along}"}
    return f"{claim.measure.replace('_', ' ')} of {claim.of}{other.get(claim.form, '')}"


def _expected(claim: Claim) -> str:
    if isinstance(claim.expected, float):
        return f"{_number(claim, claim.expected)} \u00b1 {claim.tolerance:g}"
    return _range(claim, claim.allowed)


def _range(claim: Claim, ends: tuple[float | None, float | None]) -> str:
    low, high = (None if end is None else _number(claim, end) for end in ends)
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _number(claim: Claim, value: float) -> str:
    signs = {"ratio": f"{value:g}x", "growth": f"{claim.along}^{value:g}"}
    return signs.get(claim.form, f"{value:g}")


def _measured(claim: Claim, figure: Figure) -> str:
    value, low, high = figure.value, figure.low, figure.high
    if claim.form == "growth":
        inside = "" if low is None or high is None else f" [{_places(low)}, {_places(high)}]"
        return f"{claim.along}^{_places(value)}{inside}"
    if claim.form == "value":
        if claim.measure == "time":
            return seconds(value, low, high)
        return size(value) if claim.measure in _BYTES else plain(value)
    if low is None or high is None:
        return f"~{rounded(value, digits_known(value))}x"
    if low == high:
        return f"{rounded(value, PLAIN_DIGITS)}x"
    digits = min(MOST_DIGITS, digits_known(value, low, high) + 1)
    ends = ", ".join(rounded(end, digits) for end in (low, high))
    return f"{rounded(value, digits)}x [{ends}]"


def _places(exponent: float) -> str:
    # Adding 0 turns a rounded -0 into 0.
    return f"{round(exponent, 2) + 0.0:.2f}"
