"""Tables for a terminal, drawn by rich."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table as RichTable
from rich.text import Text

from harness.report.beside import Beside
from harness.report.claims import Sheet
from harness.report.schedules import Grid, GridCell
from harness.report.tables import Cell, Failure, Table

_COLOURS = {"faster": "green", "slower": "red"}
_CLAIMS = {
    "reproduced": "green",
    "reproduced in our model": "green",
    "not reproduced": "red",
    "not testable here": "dim",
}
# More lengths than this do not fit side by side on 80 columns unless cells take two lines.
_WIDE = 3


def draw(table: Table, *, intervals: bool = False) -> RichTable:
    """One table of latencies; `intervals` adds the interval of each speed-up."""
    drawn = RichTable(title=Text(table.title), title_justify="left", pad_edge=False)
    drawn.add_column("variant", overflow="fold")
    for length in table.lengths:
        drawn.add_column(f"{table.axis} {length}", justify="right")
    break_lines = len(table.lengths) > _WIDE or intervals
    for line in table.lines:
        cells = [_text(cell, break_lines, intervals) for cell in line.cells]
        drawn.add_row(Text(line.variant), *cells)
    return drawn


def draw_outcomes(counts: Mapping[str, int]) -> Text:
    """`21 ok, 2 unsupported` on one line."""
    return Text(", ".join(f"{count} {status}" for status, count in counts.items()))


def draw_failures(found: Sequence[Failure]) -> RichTable:
    """What failed and why."""
    drawn = RichTable(title="what failed and why", title_justify="left", pad_edge=False)
    for name in ("variant", "status", "reason", "workloads"):
        drawn.add_column(name, overflow="fold")
    for failure in found:
        workloads = "; ".join(failure.workloads)
        texts = (failure.variant, failure.status, failure.reason, workloads)
        drawn.add_row(*(Text(text) for text in texts))
    return drawn


def draw_claims(sheet: Sheet) -> RichTable:
    """What became of each claim of a run."""
    drawn = RichTable(
        title=Text(f"claims: {sheet.summary}"),
        title_justify="left",
        pad_edge=False,
        show_lines=True,
    )
    for name in ("claim", "expected", "measured", "outcome"):
        drawn.add_column(name, overflow="fold")
    for line in sheet.lines:
        expected = "\n".join(filter(None, [line.expected, line.trend and f"trend {line.trend}"]))
        style = _CLAIMS.get(line.outcome, "")
        drawn.add_row(
            Text(f"{line.claim}\n({line.source})"),
            Text(expected),
            Text(line.measured),
            Text(f"{line.mark} {line.said}", style=style),
        )
    return drawn


def draw_grid(grid: Grid) -> RichTable:
    """Cycles of schedules, and what they save."""
    title = Text(f"{grid.title}: cycles, saved against ring")
    drawn = RichTable(title=title, title_justify="left", pad_edge=False)
    drawn.add_column("schedule", overflow="fold")
    for n in grid.vectors:
        drawn.add_column(f"n {n}", justify="right")
    for line in grid.lines:
        drawn.add_row(Text(line.schedule), *map(_grid_text, line.cells))
    return drawn


def refusals(grid: Grid) -> list[str]:
    """Why a schedule is not made for some sizes, a line each."""
    return [
        f"{line.schedule} n={n}: {cell.reason}"
        for line in grid.lines
        for n, cell in zip(grid.vectors, line.cells, strict=True)
        if cell is not None and cell.reason
    ]


def draw_beside(beside: Beside) -> RichTable:
    """Simulated and measured speed-ups of schedules."""
    title = Text(f"simulated beside measured, {beside.title}")
    drawn = RichTable(title=title, title_justify="left", pad_edge=False)
    drawn.add_column("variant", overflow="fold")
    for name in ("cycles", "simulated", "measured"):
        drawn.add_column(name, justify="right")
    for line in beside.lines:
        interval = f" ({line.interval})" if line.interval else ""
        measured = Text(
            f"{line.measured}{interval} {line.mark}".rstrip(), _COLOURS.get(line.verdict, "")
        )
        drawn.add_row(Text(line.variant), line.cycles, line.simulated, measured)
    return drawn


def _grid_text(cell: GridCell | None) -> Text:
    if cell is None:
        return Text("")
    if cell.reason:
        return Text("unsupported", style="dim")
    return Text(f"{cell.cycles}\n{cell.saving}")


def _text(cell: Cell | None, break_lines: bool, intervals: bool) -> Text:
    if cell is None:
        return Text("")
    if cell.status != "ok":
        return Text(cell.status, style="dim")
    text = cell.text.replace("  ", "\n") if break_lines else cell.text
    if intervals and cell.interval:
        text += f"\n{cell.interval}"
    style = _COLOURS.get(cell.verdict or "", "")
    return Text(text, style=f"bold {style}".strip() if cell.fastest else style)
