"""Prints the tables of a run to the terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.text import Text

from harness.cli.console import Console
from harness.records import load, read_manifest, schedules
from harness.report.alarms import alarms
from harness.report.beside import besides
from harness.report.claims import Sheet, sheets
from harness.report.schedules import grids
from harness.report.tables import failures, matrix, outcomes
from harness.report.terminal import (
    draw,
    draw_beside,
    draw_claims,
    draw_failures,
    draw_grid,
    draw_outcomes,
    refusals,
)


@dataclass(frozen=True)
class Told:
    """What a run says in the terminal: its cases, its schedules, claims, alarms."""

    cases: pd.DataFrame
    simulated: pd.DataFrame
    claims: list[Sheet]
    alarms: list[str]

    @classmethod
    def of(cls, folder: Path) -> Told:
        """Read a run; raises RunError for a folder that is none."""
        frame, manifest = load(folder), read_manifest(folder)
        told = {manifest["run"]: manifest}
        return cls(frame, schedules(folder), sheets(frame, told), alarms(frame, told))

    def as_dict(self) -> dict[str, Any]:
        """Counts by outcome, for a program."""
        told: dict[str, Any] = {"outcomes": _counts(self.cases)}
        if len(self.simulated):
            told["schedules"] = _counts(self.simulated)
        return told if not self.claims else {**told, "claims": self.claims[0].counts}

    def print(self) -> None:
        """Every table, what failed, the claims, how cases ended, and what is wrong with that."""
        console = Console()
        for table in matrix(self.cases):
            console.print(draw(table))
        for beside in besides(self.cases):
            console.print(draw_beside(beside))
        for grid in grids(self.simulated):
            console.print(draw_grid(grid))
            for line in refusals(grid):
                console.print(Text(line))
        failed = failures(self.cases)
        if failed:
            console.print(draw_failures(failed))
        for sheet in self.claims:
            console.print(draw_claims(sheet))
        if len(self.cases) or not len(self.simulated):
            console.print(draw_outcomes(outcomes(self.cases)))
        for line in self.alarms:
            console.print(Text(f"! {line}"))


def _counts(frame: pd.DataFrame) -> dict[str, int]:
    return dict(Counter(str(status) for status in frame["status"]).most_common())
