"""Clauses in conjunctive normal form, and whether they can be met, in limited time."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from typing import Any

from harness.errors import ScheduleError

SOLVER = "cadical195"
CONFLICTS = 500
"""How many before the first look at the clock; a solver that is stopped often gets on slowly."""
LONGEST_S = 8.0
"""About how long the solver may go without a look at the clock."""


class Formula:
    """Variables 1, 2, 3, ... and clauses over them and their negations."""

    def __init__(self) -> None:
        self.variables = 0
        self.clauses: list[list[int]] = []

    def new(self) -> int:
        """A variable that no clause has yet."""
        self.variables += 1
        return self.variables

    def add(self, *literals: int) -> None:
        """At least one of them is true."""
        self.clauses.append(list(literals))

    def at_most(self, literals: Sequence[int], most: int) -> None:
        """No more than `most` of them are true: a sequential counter (Sinz 2005)."""
        if most >= len(literals):
            return
        card = _pysat("card")
        found = card.CardEnc.atmost(
            list(literals), most, top_id=self.variables, encoding=card.EncType.seqcounter
        )
        self.variables = max(self.variables, found.nv)
        self.clauses += found.clauses


class Satisfier:
    """One formula and the time that may be spent on it, in as many turns as one likes."""

    def __init__(self, formula: Formula) -> None:
        self._solver = _pysat("solvers").Solver(name=SOLVER, bootstrap_with=formula.clauses)

    def decide(self, until: float) -> bool | None:
        """Whether it can be met; None where `until` (of time.monotonic) comes first."""
        conflicts = CONFLICTS
        while True:
            began = time.monotonic()
            self._solver.conf_budget(conflicts)
            found: bool | None = self._solver.solve_limited()
            now = time.monotonic()
            if found is not None or now >= until:
                return found
            rate = conflicts / max(now - began, 1e-6)
            conflicts = max(200, min(2 * conflicts, int(rate * min(LONGEST_S, until - now))))

    def model(self) -> frozenset[int]:
        """The variables that are true, once it was met."""
        return frozenset(literal for literal in self._solver.get_model() if literal > 0)

    def close(self) -> None:
        """Free its memory."""
        self._solver.delete()


def _pysat(module: str) -> Any:
    try:
        return importlib.import_module(f"pysat.{module}")
    except ModuleNotFoundError as error:
        raise ScheduleError(
            "solving needs python-sat, which is not installed here; "
            "run `pip install -c constraints.txt '.[schedules]'`"
        ) from error
