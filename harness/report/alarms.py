"""What a reader must hear before believing a table: a line each, none where all is well."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.analysis.groups import Row, in_order, rows_of
from harness.analysis.growth import growths_of
from harness.report import trust
from harness.report.scaling import AGAINST


def alarms(frame: pd.DataFrame) -> list[str]:
    """Gates that a wrong answer passes, and claims of growth that do not hold."""
    rows = rows_of(frame)
    return [line for line in (vacuous_gates(trust.gate(rows)), _claims(rows)) if line]


def vacuous_gates(gate: trust.Gates) -> str:
    """The line on gates that let a mutant pass; empty where there are none."""
    if not gate.survivors:
        return ""
    mutants = trust.listed(in_order(one.mutant for one in gate.survivors))
    places = in_order(place for one in gate.survivors for place in one.workloads)
    noun = "workload" if len(places) == 1 else "workloads"
    return (
        f"vacuous gate: on {len(places)} {noun} a wrong answer ({mutants}) would have passed as ok"
    )


def _claims(rows: Sequence[Row]) -> str:
    flagged = [one for one in growths_of(rows) if one.flagged]
    # What grows slower than claimed misleads nobody: the page says so, the terminal need not.
    broken = [one for one in flagged if one.against_claim == "above"]
    if not broken:
        return ""
    first = broken[0]
    more = f"; {len(broken) - 1} more on the page" if len(broken) > 1 else ""
    return (
        f"growth: {first.variant}, {first.group.title}: {first.quantity} "
        f"{AGAINST[first.against_claim or 'held']}: {first.text} from {first.lengths[0]} to "
        f"{first.lengths[-1]}{more}"
    )
