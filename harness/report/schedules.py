"""Simulated schedules as tables of figures, and in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.analysis.groups import Row, in_order, rows_of
from harness.report.numbers import percent

_DIGITS = 3


@dataclass(frozen=True)
class GridCell:
    """The figures of one schedule as text; only the reason where it is not made for the sizes."""

    cycles: str = ""
    saving: str = ""
    utilisation: str = ""
    registers: str = ""
    reason: str = ""


@dataclass(frozen=True)
class GridLine:
    """One schedule over all numbers of vectors; None where the suite asks for no such one."""

    schedule: str
    scheme: str
    cells: tuple[GridCell | None, ...]


@dataclass(frozen=True)
class Grid:
    """Schedules by vectors, for one number of elements."""

    title: str
    vectors: tuple[int, ...]
    lines: tuple[GridLine, ...]


def grids(frame: pd.DataFrame) -> list[Grid]:
    """A table for each number of elements of each run."""
    rows = rows_of(frame)
    runs = in_order(row["run"] for row in rows)
    found = []
    for run in runs:
        for elements in sorted({row["elements"] for row in rows if row["run"] == run}):
            mine = [row for row in rows if (row["run"], row["elements"]) == (run, elements)]
            title = f"schedules on {elements} element{'s' if elements > 1 else ''}"
            found.append(_grid(title + (f", run {run}" if runs[1:] else ""), mine))
    return found


def sentence(frame: pd.DataFrame) -> str:
    """What the schedules of the largest size save, in one sentence."""
    rows = [row for row in rows_of(frame) if row["status"] == "ok"]
    if not rows:
        return "No schedule was made for the sizes asked for."
    n, m = max((row["vectors"], row["elements"]) for row in rows)
    largest = [row for row in rows if (row["vectors"], row["elements"]) == (n, m)]
    saved = {row["schedule"]: row["saving"] for row in largest if row["saving"] > 0}
    texts = [f"{name} {percent(part, _DIGITS)}" for name, part in saved.items()]
    most = f"of {n} vectors on {m} elements, {', '.join(texts) or 'none saves cycles'}"
    return f"Cycles saved against plain ring attention, simulated: {most}."


def _grid(title: str, rows: list[Row]) -> Grid:
    vectors = tuple(sorted({row["vectors"] for row in rows}))
    at = {(row["schedule"], row["vectors"]): row for row in rows}
    lines = []
    for name in in_order(row["schedule"] for row in rows):
        mine = [at.get((name, n)) for n in vectors]
        scheme = next((row["scheme"] for row in mine if row and "scheme" in row), "")
        lines.append(GridLine(name, scheme, tuple(map(_cell, mine))))
    return Grid(title, vectors, tuple(lines))


def _cell(row: Row | None) -> GridCell | None:
    if row is None:
        return None
    if row["status"] != "ok":
        return GridCell(reason=row["reason"])
    return GridCell(
        cycles=f"{int(row['cycles']):,}",
        saving=percent(row["saving"], _DIGITS),
        utilisation=percent(row["utilisation"], _DIGITS),
        registers=f"{int(row['registers']):,}",
    )
