"""Tables as plain data: latency by variant and length, outcomes, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.analysis.groups import Group, Row, grouped, in_order, rows_of
from harness.report.numbers import ABSENT, rounded, seconds, speedup, speedup_interval
from harness.report.ranking import winners_of

STATUSES = (
    "ok", "incorrect", "unsupported", "oom", "timeout", "crashed", "error", "fallback",
    "impossible",
)  # fmt: skip
# Marks are shapes, so that a verdict is read without colour.
MARKS = {"faster": "▲", "slower": "▼", "same": "=", "undecided": "?"}


@dataclass(frozen=True)
class Cell:
    """One case in a table, as text; `speedup` is empty where there is no comparison.

    `fastest` only where it is told apart from every other correct variant of its block.
    """

    status: str
    latency: str
    speedup: str = ""
    interval: str = ""
    verdict: str | None = None
    is_baseline: bool = False
    fastest: bool = False
    reason: str = ""
    rounds_needed: int | None = None

    @property
    def verdict_text(self) -> str:
        """The verdict in words: `undecided: about 4000 rounds would decide it`."""
        if self.rounds_needed is None:
            return self.verdict or ""
        return f"{self.verdict}: about {rounded(self.rounds_needed, 1)} rounds would decide it"

    @property
    def mark(self) -> str:
        """The sign of the verdict."""
        return MARKS.get(self.verdict or "", "")

    @property
    def text(self) -> str:
        """`0.31 ms  5.2x ▲`; the status where the case is not ok."""
        if self.status != "ok":
            return self.status
        versus = "baseline" if self.is_baseline else f"{self.speedup} {self.mark}".strip()
        return f"{self.latency}  {versus}".rstrip()


@dataclass(frozen=True)
class Line:
    """One variant over all lengths; None where the suite asks for no such case."""

    variant: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """Variants by lengths, for workloads that differ in nothing else."""

    title: str
    axis: str
    lengths: tuple[int, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Failure:
    """A variant that did not come out ok, why, and on which workloads."""

    variant: str
    status: str
    reason: str
    workloads: tuple[str, ...]
    count: int


def matrix(frame: pd.DataFrame) -> list[Table]:
    """A table for each set of workloads that differ in the length alone."""
    rows = rows_of(frame)
    best = {(winner.block, winner.variant) for winner in winners_of(rows) if not winner.ties}
    return [_table(group, best) for group in grouped(rows)]


def outcomes(frame: pd.DataFrame) -> dict[str, int]:
    """How many cases ended in each status, in the fixed order, those with none left out."""
    counts = Counter(str(row["status"]) for row in rows_of(frame))
    order = [*STATUSES, *sorted(set(counts) - set(STATUSES))]
    return {status: counts[status] for status in order if counts[status]}


def failures(frame: pd.DataFrame) -> list[Failure]:
    """What did not come out ok; the same variant, status and reason once, with its workloads."""
    groups = grouped(rows_of(frame))
    found: dict[tuple[str, str, str], list[tuple[Group, Row]]] = {}
    for group in groups:
        for row in group.rows:
            if row["status"] != "ok":
                key = (row["variant"], row["status"], str(row.get("reason", "")))
                found.setdefault(key, []).append((group, row))
    totals = Counter(row["variant"] for group in groups for row in group.rows)
    return [
        Failure(*key, _workloads(pairs, totals[key[0]]), len(pairs)) for key, pairs in found.items()
    ]


def _table(group: Group, best: set[tuple[tuple[object, object], str]]) -> Table:
    at = {(row["variant"], int(row[group.axis])): row for row in group.rows}
    lines = [
        Line(
            variant,
            tuple(_cell(at.get((variant, length)), best) for length in group.lengths),
        )
        for variant in group.variants
    ]
    return Table(group.title, group.axis, group.lengths, tuple(lines))


def _cell(row: Row | None, best: set[tuple[tuple[object, object], str]]) -> Cell | None:
    if row is None:
        return None
    if row["status"] != "ok":
        return Cell(row["status"], ABSENT, reason=str(row.get("reason", "")))
    latency = seconds(row.get("latency_s"), row.get("latency_low_s"), row.get("latency_high_s"))
    if row.get("is_baseline"):
        mine = ((row.get("run"), row.get("block_id")), row["variant"]) in best
        return Cell("ok", latency, is_baseline=True, fastest=mine)
    ratios = (row.get("ratio"), row.get("ratio_low"), row.get("ratio_high"))
    return Cell(
        "ok",
        latency,
        speedup(*ratios) if ratios[0] is not None else "",
        speedup_interval(*ratios),
        row.get("verdict"),
        fastest=((row.get("run"), row.get("block_id")), row["variant"]) in best,
        reason=str(row.get("reason", "")),
        rounds_needed=row.get("rounds_needed"),
    )


def _workloads(pairs: Sequence[tuple[Group, Row]], total: int) -> tuple[str, ...]:
    if len(pairs) == total and total > 1:
        return (f"all {total} workloads",)
    titles = in_order((group.title, group.axis) for group, _ in pairs)
    return tuple(
        f"{title}: {axis} "
        + ", ".join(
            str(length)
            for length in sorted(
                row[axis] for group, row in pairs if (group.title, group.axis) == (title, axis)
            )
        )
        for title, axis in titles
    )
