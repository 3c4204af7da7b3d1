"""The products that a scheme asks for: each of them once, and no others."""

from __future__ import annotations

from collections.abc import Iterator
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
    """Where and when each product was computed."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._done: dict[Product, dict[tuple[int, int], tuple[int, int]]] = {
            "score": {},
            "weigh": {},
        }

    def add(self, cycle: int, element: int, operation: Operation) -> None:
        """Note a product; ScheduleError if it is not asked for or was computed before."""
        kind = cast(Product, operation.kind)
        pair = self._pair(kind, operation.i, operation.j)
        if not self._asked(kind, *pair):
            refuse(
                element, cycle, f"{operation} is not asked for: {self._asks(kind)}; leave it out"
            )
        done = self._done[kind]
        if pair in done:
            first, when = done[pair]
            refuse(
                element,
                cycle,
                f"{operation} is computed twice: element {first} has computed it in cycle {when}; "
                "leave one of the two out",
            )
        done[pair] = (element, cycle)

    def check_all(self) -> None:
        """ScheduleError if a product that the scheme asks for was never computed."""
        for kind in self._kinds():
            done = self._done[kind]
            for i, j in self._pairs(kind):
                if (i, j) not in done:
                    raise ScheduleError(
                        f"{Operation(kind, i, j)} is never computed in {self._schedule.cycles} "
                        f"cycles: {self._asks(kind)}; expected it at one element, for instance at "
                        f"element {self._schedule.owner[i]}, which owns vector {i}"
                    )

    def _kinds(self) -> tuple[Product, ...]:
        return ("score", "weigh") if self._schedule.complete else ("score",)

    def _pair(self, kind: Product, i: int, j: int) -> tuple[int, int]:
        return score_pair(i, j, self._schedule.scheme) if kind == "score" else (i, j)

    def _asked(self, kind: Product, i: int, j: int) -> bool:
        n = self._schedule.vectors
        if not (0 <= i < n and 0 <= j < n) or kind not in self._kinds():
            return False
        return pair_is_asked(kind, i, j, self._schedule.scheme)

    def _asks(self, kind: Product) -> str:
        scheme, n = self._schedule.scheme, self._schedule.vectors
        if kind not in self._kinds():
            return f"complete=False asks for {ASKS[scheme, 'score']} of {n} vectors alone"
        return f"the {scheme} scheme asks for {ASKS[scheme, kind]} of {n} vectors"

    def _pairs(self, kind: Product) -> Iterator[tuple[int, int]]:
        n, scheme = self._schedule.vectors, self._schedule.scheme
        pairs = ((i, j) for i in range(n) for j in range(n))
        return (pair for pair in pairs if pair_is_asked(kind, *pair, scheme))
