"""Simulated beside measured: what a schedule should gain by its cycles, and what it gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.analysis.groups import Row, block_of, grouped, rows_of
from harness.report.numbers import rounded, speedup, speedup_interval
from harness.report.tables import MARKS

_DIGITS = 3
SIMULATED = "simulated_speedup"


@dataclass(frozen=True)
class BesideLine:
    """One variant: its schedule's cycles, and both speed-ups over the baseline as text."""

    variant: str
    workers: int
    cycles: str
    simulated: str
    measured: str
    interval: str
    verdict: str
    mark: str


@dataclass(frozen=True)
class Beside:
    """The variants of one block that run a schedule; the baseline first."""

    title: str
    lines: tuple[BesideLine, ...]


def besides(frame: pd.DataFrame) -> list[Beside]:
    """A table for each block in which the baseline and another variant have cycles."""
    found = []
    for group in grouped(rows_of(frame)):
        rows = with_simulated(group.rows)
        for length in group.lengths:
            mine = [row for row in rows if int(row[group.axis]) == length]
            # The baseline says nothing beside itself.
            if len(mine) > 1:
                mine.sort(key=lambda row: not row.get("is_baseline"))
                title = f"{group.title}, {group.axis} {length}"
                found.append(Beside(title, tuple(map(_line, mine))))
    return found


def with_simulated(rows: Sequence[Row]) -> list[Row]:
    """The rows with cycles whose block's baseline has them too, each with its simulated speed-up.

    One of n vectors does a pair of blocks of L / n rows in a cycle, so cycles of different n
    compare as cycles / n^2.
    """
    needed = ("cycles", "vectors", "ratio")
    own = [row for row in rows if row["status"] == "ok" and all(map(row.get, needed))]
    baselines = {block_of(row): _work(row) for row in own if row.get("is_baseline")}
    return [
        {**row, SIMULATED: baselines[block_of(row)] / _work(row)}
        for row in own
        if block_of(row) in baselines
    ]


def _work(row: Row) -> float:
    return float(row["cycles"]) / float(row["vectors"]) ** 2


def _line(row: Row) -> BesideLine:
    ratios = (row["ratio"], row.get("ratio_low"), row.get("ratio_high"))
    is_baseline, verdict = bool(row.get("is_baseline")), str(row.get("verdict") or "")
    return BesideLine(
        variant=row["variant"],
        workers=int(row.get("workers") or 1),
        cycles=f"{int(row['cycles']):,} of {int(row['vectors'])} blocks",
        simulated=f"{rounded(row[SIMULATED], _DIGITS)}x",
        measured="baseline" if is_baseline else speedup(*ratios),
        interval="" if is_baseline else speedup_interval(*ratios),
        verdict=verdict,
        mark=MARKS.get(verdict, ""),
    )
