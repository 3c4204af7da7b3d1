"""Prints the tables of a run to the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from harness.cli.console import Console
from harness.report.claims import Sheet
from harness.report.tables import Failure, Table
from harness.report.terminal import draw, draw_claims, draw_failures, draw_outcomes


def print_report(
    tables: Sequence[Table],
    counts: Mapping[str, int],
    failures: Sequence[Failure],
    alarms: Sequence[str] = (),
    claims: Sequence[Sheet] = (),
) -> None:
    """Every table, what failed, the claims, how cases ended, and what is wrong with that."""
    console = Console()
    for table in tables:
        console.print(draw(table))
    if failures:
        console.print(draw_failures(failures))
    for sheet in claims:
        console.print(draw_claims(sheet))
    console.print(draw_outcomes(counts))
    for line in alarms:
        console.print(Text(f"! {line}"))
