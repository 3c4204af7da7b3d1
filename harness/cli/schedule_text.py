"""Prints a schedule to the terminal: a row a cycle, a column an element, then its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from harness.cli.console import Console

if TYPE_CHECKING:
    from harness.schedule.model import Item, Operation, Schedule

FIRST, LAST = 16, 4
"""Cycles shown of a schedule that has more."""
GAP = 2
"""Blanks between two columns, at most."""
ITEMS = 3
"""Sends shown of an element that has more in a cycle."""


def print_schedule(schedule: Schedule, told: dict[str, Any]) -> None:
    """The schedule, cut where it is large, and its figures."""
    console = Console(highlight=False)
    console.print(Text(_title(told)))
    console.print(_cycles(schedule, console.width))
    console.print(_figures(told))


def _title(told: dict[str, Any]) -> str:
    extent = "" if told["complete"] else ", scores alone"
    return f"{told['name']}: {told['scheme']}{extent}, n={told['n']}, m={told['m']}"


def _cycles(schedule: Schedule, width: int) -> Table:
    shown = _shown(schedule.cycles)
    rows = [
        [_cell(*at) for at in zip(schedule.operations[t], schedule.sends[t], strict=True)]
        for t in shown
    ]
    columns = _columns(rows, width)
    table = Table(box=None, pad_edge=False)
    table.add_column("cycle", justify="right")
    for element in range(columns):
        table.add_column(f"element {element}", no_wrap=True)
    if columns < schedule.elements:
        table.add_column(f"{schedule.elements - columns} more")
    for at, (cycle, row) in enumerate(zip(shown, rows, strict=True)):
        if at == FIRST and cycle != FIRST:
            table.add_row("...", f"{schedule.cycles - len(shown)} more")
        table.add_row(str(cycle), *[Text(cell) for cell in row[:columns]])
    return table


def _shown(cycles: int) -> list[int]:
    if cycles <= FIRST + LAST + 1:
        return list(range(cycles))
    return [*range(FIRST), *range(cycles - LAST, cycles)]


def _columns(rows: list[list[str]], width: int) -> int:
    """How many elements fit beside the cycle and a column that says how many do not."""
    wide = [max(len("element 10"), *map(len, column)) + GAP for column in zip(*rows, strict=True)]
    left = width - len("cycle") - GAP
    if sum(wide) <= left:
        return len(wide)
    left -= len("100 more") + GAP
    fitting = [count for count in range(1, len(wide) + 1) if sum(wide[:count]) <= left]
    return max(fitting, default=1)


def _cell(operation: Operation | None, sent: tuple[Item, ...]) -> str:
    """As in S(0,1) > x0: does the one and sends the other."""
    words = ["-" if operation is None else str(operation)]
    if sent:
        more = [f"+{len(sent) - ITEMS}"] if len(sent) > ITEMS else []
        words += [">", *(str(item) for item in sent[:ITEMS]), *more]
    return " ".join(words)


def _figures(told: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    rows = {
        "cycles": f"{told['cycles']:,} (at least {told['bound']:,}{_proof(told)})",
        "utilisation": f"{told['utilisation']:.1%} of {told['m']} elements",
        "registers": f"{told['registers']:,} vectors in an element at most{_fewest(told)}",
        "links": (
            f"{told['vector_words']:,} vectors ({told['vector_links']} a link and cycle at most), "
            f"{told['score_words']:,} scores ({told['score_links']})"
        ),
        "against ring": f"{told['saving']:.1%} of {told['ring_cycles']:,} cycles saved",
    }
    if "search" in told:
        rows["search"] = (
            f"{told['search']['seconds']:.1f} s, {told['search']['variables']:,} variables, "
            f"{told['search']['clauses']:,} clauses"
        )
    for name, text in rows.items():
        table.add_row(name, Text(text))
    return table


def _proof(told: dict[str, Any]) -> str:
    search = told.get("search")
    if search is None:
        return " by counting"
    if not search["optimal"]:
        return "; not shown to be the fewest"
    return f": the fewest, by {search['proof']}" if search["proof"] else ""


def _fewest(told: dict[str, Any]) -> str:
    return ", the fewest" if told.get("search", {}).get("fewest") else ""
