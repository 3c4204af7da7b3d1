"""The optima that are known, each with a schedule under optima/ that attains it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from harness.schedule.problem import Problem, problem_named

OPTIMA = Path(__file__).parent / "optima"
SIZES = ((2, 2), (4, 2), (4, 4), (6, 2), (6, 3), (8, 2), (8, 4))
TABLE = {
    "general": (2, 8, 4, 18, 12, 32, 16),
    "symmetric_scores": (2, 5, 3, 11, 7, 18, 9),
    "symmetric_returned": (3, 5, 6, 11, 7, 18, 11),
    "symmetric_total": (4, 13, 7, 29, 19, 50, 25),
    "causal_contiguous": (2, 7, 4, 15, 11, 26, 15),
    "causal_striped": (2, 6, 4, 12, 9, 20, 12),
    "causal_balanced": (2, 5, 4, 11, 7, 18, 9),
    "causal_moving": (2, 5, 3, 11, 7, 18, 9),
}


class Cell(NamedTuple):
    """A problem of some size, and the fewest cycles that are known for it."""

    name: str
    n: int
    m: int
    cycles: int

    @property
    def problem(self) -> Problem:
        return problem_named(self.name, self.n, self.m)

    @property
    def path(self) -> Path:
        return OPTIMA / f"{self.name}-{self.n}-{self.m}.json"

    @property
    def slow(self) -> bool:
        """Whether the refutation of one cycle less takes more than seconds: one cell."""
        return (self.name, self.n, self.m) == ("symmetric_returned", 8, 4)

    @property
    def refuted(self) -> bool:
        """Whether one cycle less fails for another reason than the count of operations."""
        return self.slow or (self.name == "symmetric_returned" and self.n == self.m)

    def __str__(self) -> str:
        return f"{self.name}-{self.n}-{self.m}"


CELLS = tuple(
    Cell(name, n, m, cycles)
    for name, row in TABLE.items()
    for (n, m), cycles in zip(SIZES, row, strict=True)
)
