"""Who is fastest: within a block only, and averaged over matched blocks only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.analysis.groups import Group, Row, block_of, grouped, in_order, rows_of

Block = tuple[Any, Any]


@dataclass(frozen=True)
class Winner:
    """The quickest correct variant of one block, and those that it cannot be told from.

    It may be called the fastest only when `ties` is empty.
    """

    block: Block
    variant: str
    ties: tuple[str, ...]
    rivals: int
    ratio: float | None
    ratio_low: float | None = None
    ratio_high: float | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class Mean:
    """A variant's geometric mean speed-up over the matched blocks."""

    variant: str
    speedup: float


@dataclass(frozen=True)
class Comparisons:
    """Verdicts on latency that a run passed, and the blocks that they were passed in."""

    run: str
    verdicts: int
    blocks: int


@dataclass(frozen=True)
class Matched:
    """Means over the same blocks for every variant, and how many blocks that leaves.

    `left_out` completed none of the blocks and stand in no mean.
    """

    title: str
    blocks: int
    of_blocks: int
    means: tuple[Mean, ...]
    left_out: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """True when no block was left out: a mean over some of them says little of the rest."""
        return bool(self.means) and self.blocks == self.of_blocks


def winners(frame: pd.DataFrame) -> list[Winner]:
    """The fastest correct variant of each block in which one was timed."""
    return winners_of(rows_of(frame))


def winners_of(rows: Sequence[Row]) -> list[Winner]:
    """The same, of rows."""
    found = [_winner(block, members) for block, members in _timed_blocks(rows).items()]
    return [winner for winner in found if winner is not None]


def matched(frame: pd.DataFrame) -> list[Matched]:
    """Geometric mean speed-ups per run and pass, over blocks that all variants completed.

    Blocks in which a ratio has no interval are left out: a mean would hide that it is not known.
    A variant that is missing where the others are slow would otherwise gain by its absence.
    """
    rows = rows_of(frame)
    runs = in_order(row.get("run") for row in rows)
    sets: dict[tuple[Any, str], list[Row]] = {}
    for group in grouped(rows):
        sets.setdefault((group["run"], group["pass"]), []).extend(group.rows)
    return [
        _matched(f"{kind}, run {run}" if len(runs) > 1 else kind, members)
        for (run, kind), members in sets.items()
    ]


def compared(rows: Sequence[Row]) -> list[Comparisons]:
    """How many verdicts on latency these rows hold, by run."""
    judged = [row for row in rows if row.get("verdict") and not row.get("is_baseline")]
    runs: dict[str, list[Row]] = {}
    for row in judged:
        runs.setdefault(str(row.get("run", "")), []).append(row)
    return [
        Comparisons(run, len(members), len({block_of(row) for row in members}))
        for run, members in runs.items()
    ]


def winner_at(group: Group, length: int, found: Sequence[Winner]) -> Winner | None:
    """The winner of the block of a group at a length."""
    blocks = {block_of(row) for row in group.rows if row[group.axis] == length}
    return next((winner for winner in found if winner.block in blocks), None)


def _timed_blocks(rows: Sequence[Row]) -> dict[Block, list[Row]]:
    blocks: dict[Block, list[Row]] = {}
    for row in rows:
        if row["status"] == "ok" and row.get("latency_s") is not None:
            blocks.setdefault(block_of(row), []).append(row)
    return blocks


def _winner(block: Block, rows: Sequence[Row]) -> Winner | None:
    compared = [row for row in rows if row.get("is_baseline") or row.get("ratio") is not None]
    # Paired ratios are sharper than latencies; without a baseline only latencies are left.
    by_ratio = len(compared) == len(rows)
    spans = {row["variant"]: _span(row, by_ratio) for row in rows}
    times = {row["variant"]: _span(row, by_ratio=False) for row in rows}
    first = min(spans, key=lambda name: spans[name][0])
    # Near the baseline a ratio may have no interval yet where the latencies are far apart.
    rough = {row["variant"] for row in rows if by_ratio and not _bounded(spans[row["variant"]])}
    judged = {
        row["variant"]: row.get("verdict")
        for row in rows
        if by_ratio and not row.get("is_baseline")
    }

    def tied(other: str) -> bool:
        if {first, other} & rough:
            return _overlap(times, first, other)
        # With the baseline there is a verdict, which knows the margin and both launches.
        if first not in judged and other in judged:
            return judged[other] != "slower"
        if other not in judged and first in judged:
            return judged[first] != "faster"
        return _overlap(spans, first, other)

    ties = [name for name in spans if name != first and tied(name)]
    row = next(row for row in rows if row["variant"] == first)
    ratio = 1.0 if row.get("is_baseline") else row.get("ratio")
    ends = row.get("ratio_low"), row.get("ratio_high")
    return Winner(block, first, tuple(ties), len(rows) - 1, ratio, *ends, row.get("verdict"))


def _bounded(span: tuple[float, float, float]) -> bool:
    return math.isfinite(span[2])


def _overlap(spans: dict[str, tuple[float, float, float]], first: str, other: str) -> bool:
    return spans[other][1] <= spans[first][2]


def _span(row: Row, by_ratio: bool) -> tuple[float, float, float]:
    if by_ratio and row.get("is_baseline"):
        return 1.0, 1.0, 1.0
    name, unit = ("ratio", "") if by_ratio else ("latency", "_s")
    value = float(row[f"{name}{unit}"])
    # Without an interval a variant is told apart from nothing.
    return value, row.get(f"{name}_low{unit}", 0.0), row.get(f"{name}_high{unit}", math.inf)


def _has_interval(row: Row) -> bool:
    ends = (row.get("ratio_low"), row.get("ratio_high"))
    return all(end is not None and math.isfinite(end) for end in ends)


def _matched(title: str, rows: Sequence[Row]) -> Matched:
    ratios: dict[str, dict[Block, float]] = {}
    open_: set[Block] = set()
    for row in rows:
        ratio = 1.0 if row.get("is_baseline") else row.get("ratio")
        if row["status"] == "ok" and ratio is not None:
            ratios.setdefault(row["variant"], {})[block_of(row)] = float(ratio)
            if not row.get("is_baseline") and not _has_interval(row):
                open_.add(block_of(row))
    common = set.intersection(*(set(of) for of in ratios.values())) - open_ if ratios else set()
    means = [
        Mean(name, math.exp(-sum(math.log(of[block]) for block in common) / len(common)))
        for name, of in ratios.items()
        if common
    ]
    left_out = [name for name in in_order(row["variant"] for row in rows) if name not in ratios]
    return Matched(
        title,
        len(common),
        len({block_of(row) for row in rows}),
        tuple(sorted(means, key=lambda mean: -mean.speedup)),
        tuple(left_out),
    )
