"""What a reader must hear before believing a table: a line each, none where all is well."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from harness.analysis.groups import Row, in_order, rows_of
from harness.analysis.growth import growths_of
from harness.report import trust
from harness.report.scaling import AGAINST


def alarms(frame: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Gates that a wrong answer passes, workers without a CPU, claims of growth that do not hold.

    manifests: by the name of the run.
    """
    rows = rows_of(frame)
    lines = (vacuous_gates(trust.gate(rows)), crowded(rows, manifests), _claims(rows))
    return [line for line in lines if line]


def crowded(rows: Sequence[Row], manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """The line on timed variants with more workers than there are CPUs; empty without one."""
    # Schema 1 wrote a text where a description of the machine stands now.
    machines = {run: told.get("machine") for run, told in manifests.items()}
    cpus = {
        run: machine.get("usable_cpus") if isinstance(machine, Mapping) else None
        for run, machine in machines.items()
    }
    found = [
        row
        for row in rows
        if row["status"] == "ok" and row.get("workers", 0) > (cpus.get(row["run"]) or math.inf)
    ]
    if not found:
        return ""
    worst = max(found, key=lambda row: int(row["workers"]))
    return (
        f"too few CPUs: {trust.listed(in_order(row['variant'] for row in found))}: "
        f"{int(worst['workers'])} workers share {cpus[worst['run']]} CPUs, so that their times say "
        "nothing of more processors"
    )


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
