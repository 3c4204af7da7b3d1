"""The products that a scheme asks for: each of them once, and no others."""

from __future__ import annotations

from typing import Literal, NoReturn, cast

from harness.errors import ScheduleError
from harness.schedule.model import Operation, Schedule, pair_is_asked, score_pair

Product = Literal["score", "weigh"]
ASKS = {
    ("general", "score"): "the score of every (i, j)",
    ("general", "weigh"): "the weighing of every (i, j)",
    ("causal", "score"): "the score of every (i, j) with j <= i",
    ("causal", "weigh"): "the weighing of every (i, j) with j <= i",
    ("symmetric", "score"): "the score of every unordered pair",
    ("symmetric", "weigh"): "the weighing of every (i, j)",
}


def refuse(element: int, cycle: int, text: str) -> NoReturn:
    """Raise a ScheduleError that names the place first."""
    raise ScheduleError(f"element {element}, cycle {cycle}: {text}")


class Products:
    """The products that are still to be computed."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        n, scheme = schedule.vectors, schedule.scheme
        self._kinds: tuple[Product, ...] = ("score", "weigh") if schedule.complete else ("score",)
        self._left: dict[str, set[tuple[int, int]]] = {
            kind: {(i, j) for i in range(n) for j in range(n) if pair_is_asked(kind, i, j, scheme)}
            for kind in self._kinds
        }

    def add(self, cycle: int, element: int, operation: Operation, pair: tuple[int, int]) -> None:
        """Note a product, a score by its pair; ScheduleError if it is not asked for, or twice."""
        left = self._left.get(operation.kind, ())
        if pair in left:
            self._left[operation.kind].remove(pair)
            return
        first = self._computed(operation, pair)
        if first is None or first == (cycle, element):
            asks = self._asks(cast(Product, operation.kind))
            refuse(element, cycle, f"{operation} is not asked for: {asks}; leave it out")
        refuse(
            element,
            cycle,
            f"{operation} is computed twice: element {first[1]} has computed it in cycle "
            f"{first[0]}; leave one of the two out",
        )

    def check_all(self) -> None:
        """ScheduleError if a product that the scheme asks for was never computed."""
        for kind in self._kinds:
            for i, j in sorted(self._left[kind])[:1]:
                raise ScheduleError(
                    f"{Operation(kind, i, j)} is never computed in {self._schedule.cycles} "
                    f"cycles: {self._asks(kind)}; expected it at one element, for instance at "
                    f"element {self._schedule.owner[i]}, which owns vector {i}"
                )

    def _computed(self, operation: Operation, pair: tuple[int, int]) -> tuple[int, int] | None:
        """Cycle and element of the first operation that computes a product."""
        for cycle, row in enumerate(self._schedule.operations):
            for element, other in enumerate(row):
                if other and other.kind == operation.kind and self._pair(other) == pair:
                    return cycle, element
        return None

    def _pair(self, operation: Operation) -> tuple[int, int]:
        kind, i, j = operation
        return score_pair(i, j, self._schedule.scheme) if kind == "score" else (i, j)

    def _asks(self, kind: Product) -> str:
        scheme, n = self._schedule.scheme, self._schedule.vectors
        if kind not in self._kinds:
            return f"complete=False asks for {ASKS[scheme, 'score']} of {n} vectors alone"
        return f"the {scheme} scheme asks for {ASKS[scheme, kind]} of {n} vectors"
