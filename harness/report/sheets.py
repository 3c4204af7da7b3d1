"""Sheets: variants by lengths, each cell a few short texts; the roofline and energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.analysis.groups import Group, Row, grouped
from harness.report.numbers import joules, percent, rate

Texts = tuple[str, ...]


@dataclass(frozen=True)
class SheetLine:
    """One variant over all lengths; an empty cell where there is nothing to say."""

    variant: str
    cells: tuple[Texts, ...]


@dataclass(frozen=True)
class Sheet:
    """Variants by lengths, for workloads that differ in nothing else."""

    title: str
    axis: str
    lengths: tuple[int, ...]
    lines: tuple[SheetLine, ...]


def limits(rows: Sequence[Row]) -> list[Sheet]:
    """How close to what the machine can do: a sheet a group with ceilings measured beside it.

    A cell: the fraction of the attainable, what bounds it, achieved FLOP/s (algorithmic, and
    executed where they differ), compulsory bytes a second.
    """
    return _sheets(rows, _limits)


def energy(rows: Sequence[Row]) -> list[Sheet]:
    """Joules of one call above idle, with the counter's resolution, where a counter exists."""
    return _sheets(rows, _energy)


def _sheets(rows: Sequence[Row], cell: Callable[[Row], Texts]) -> list[Sheet]:
    made = [_sheet(group, cell) for group in grouped(rows)]
    return [sheet for sheet in made if any(any(line.cells) for line in sheet.lines)]


def _sheet(group: Group, cell: Callable[[Row], Texts]) -> Sheet:
    at = {
        (row["variant"], int(row[group.axis])): cell(row)
        for row in group.rows
        if row["status"] == "ok"
    }
    lines = [
        SheetLine(variant, tuple(at.get((variant, length), ()) for length in group.lengths))
        for variant in group.variants
    ]
    return Sheet(group.title, group.axis, group.lengths, tuple(lines))


def _limits(row: Row) -> Texts:
    if "attainable_fraction" not in row:
        return ()
    rates = [rate(row["flops_per_s"], "FLOP/s")] if "flops_per_s" in row else []
    rates.append(rate(row["bytes_per_s"], "B/s"))
    texts = (f"{percent(row['attainable_fraction'])}, {row['bound_by']}", ", ".join(rates))
    executed = row.get("executed_flops")
    if executed is None or executed == row.get("flops"):
        return texts
    return (*texts, f"executes {rate(executed / row['latency_s'], 'FLOP/s')}")


def _energy(row: Row) -> Texts:
    if "energy_joules" not in row:
        return ()
    return (joules(row["energy_joules"], row["energy_resolution_joules"]),)
