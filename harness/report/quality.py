"""How far approximations lie from softmax attention: variants by what was asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.groups import Group, Row, grouped, in_order, varying
from harness.report.numbers import plain

# A deviation is of one draw of inputs: more digits would not come out again.
DIGITS = 2


@dataclass(frozen=True)
class QualityCell:
    """Deviation from softmax attention, and the error against the own definition."""

    deviation: str
    error: str


@dataclass(frozen=True)
class QualityLine:
    """One approximation; a cell for each workload, None where it gave no right answer."""

    variant: str
    cells: tuple[QualityCell | None, ...]


@dataclass(frozen=True)
class Quality:
    """Approximations by workloads of one run, pass and length."""

    title: str
    workloads: tuple[str, ...]
    lines: tuple[QualityLine, ...]


def qualities(rows: Sequence[Row]) -> list[Quality]:
    """A table for each run, pass and length at which an approximation came out right."""
    groups = grouped([row for row in rows if row.get("approximates")])
    tables = []
    for key in in_order((group["run"], group["pass"]) for group in groups):
        members = [group for group in groups if (group["run"], group["pass"]) == key]
        lengths = sorted({length for group in members for length in group.lengths})
        runs = len(in_order(group["run"] for group in groups))
        about = f"{key[1]}, run {key[0]}" if runs > 1 else str(key[1])
        tables += [_table(members, length, about) for length in lengths]
    return [table for table in tables if any(any(line.cells) for line in table.lines)]


def _table(groups: Sequence[Group], length: int, about: str) -> Quality:
    shown = [group for group in groups if length in group.lengths]
    names = varying(group.key for group in groups)
    cells = {
        (row["variant"], at): _cell(row)
        for at, group in enumerate(shown)
        for row in group.rows
        if row[group.axis] == length
    }
    variants = in_order(variant for group in shown for variant in group.variants)
    lines = [
        QualityLine(variant, tuple(cells.get((variant, at)) for at in range(len(shown))))
        for variant in variants
    ]
    title = f"{about}, {shown[0].axis} {length}"
    return Quality(title, tuple(group.title_of(names) for group in shown), tuple(lines))


def _cell(row: Row) -> QualityCell | None:
    if row["status"] != "ok" or row.get("deviation") is None:
        return None
    return QualityCell(plain(row["deviation"], DIGITS), f"error {plain(row.get('error'), DIGITS)}")
