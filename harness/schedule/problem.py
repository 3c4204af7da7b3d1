"""What a solver is asked for: which operations there are, where they may run, what moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.errors import ScheduleError, suggest
from harness.schedule.model import Item, Operation, Scheme, blocks, stripes, vector

Moving = Literal["q", "k", "x"]


@dataclass(frozen=True)
class Problem:
    """A schedule that is wanted, but for its cycles.

    moves: the kinds of vectors that travel; q stays with its owner unless it is among them.
    complete: scores and weighted sums, without a barrier between; else the scores alone.
    returned: at the end the owners of i and of j both hold score(i, j).
    vector_links, score_links: how many a link carries in a cycle; None: no limit.
    """

    name: str
    scheme: Scheme
    owner: tuple[int, ...]
    elements: int
    moves: tuple[Moving, ...]
    complete: bool = False
    returned: bool = False
    vector_links: int | None = 1
    score_links: int | None = 1

    def __post_init__(self) -> None:
        if self.scores_move and self.scheme != "symmetric":
            raise ScheduleError(
                f"scores travel in symmetric problems alone: scheme={self.scheme}, complete="
                f"{self.complete}, returned={self.returned}; leave both out, or write "
                "scheme='symmetric'"
            )

    @property
    def vectors(self) -> int:
        """n, how many vectors there are."""
        return len(self.owner)

    @property
    def scores(self) -> tuple[Operation, ...]:
        """Every score, once."""
        n = self.vectors
        return tuple(
            Operation("score", i, j)
            for i in range(n)
            for j in range(i if self.scheme == "symmetric" else 0, n)
            if self.scheme != "causal" or j <= i
        )

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation, once; a weighted sum is made where its vector lives."""
        n = self.vectors
        pairs = [(i, j) for i in range(n) for j in range(n)]
        weighed = [Operation("weigh", i, j) for i, j in pairs if self.scheme != "causal" or j <= i]
        return (*self.scores, *(weighed if self.complete else ()))

    @property
    def items(self) -> tuple[Item, ...]:
        """Every vector that moves."""
        return tuple(vector(kind, i) for kind in self.moves for i in range(self.vectors))

    @property
    def scores_move(self) -> bool:
        """Whether a score is wanted elsewhere than where it was made."""
        return self.complete or self.returned

    def places(self, operation: Operation) -> range:
        """The elements that may do it."""
        owner = self.owner[operation.i]
        stays = operation.kind == "weigh" or self.moves == ("k",)
        return range(owner, owner + 1) if stays else range(self.elements)

    def operands(self, operation: Operation) -> tuple[Item, ...]:
        """The moving vectors that it reads."""
        i, j = operation.i, operation.j
        if self.moves == ("x",):
            both = (vector("x", i), vector("x", j))
            return both[1:] if operation.kind == "weigh" or i == j else both
        if self.moves == ("k",):
            return (vector("k", j),)
        return (vector("q", i), vector("k", j))

    def needed_at(self, score: Operation) -> tuple[int, ...]:
        """The elements that hold the score at the end."""
        wanted = (self.owner[score.i], self.owner[score.j]) if self.returned else ()
        return tuple(sorted(set(wanted)))


def balanced(n: int, m: int) -> tuple[int, ...]:
    """Owners where each element has n / m rows of a causal mask and about as many pairs.

    The longest row that is left goes to the element with the fewest pairs that has room.
    """
    owner = [0] * n
    rows, pairs = [0] * m, [0] * m
    for i in reversed(range(n)):
        element = min((p for p in range(m) if rows[p] < n // m), key=lambda p: (pairs[p], p))
        owner[i] = element
        rows[element] += 1
        pairs[element] += i + 1
    return tuple(owner)


def _general(n: int, m: int) -> Problem:
    return Problem("general", "general", blocks(n, m), m, ("k",))


def _scores(n: int, m: int) -> Problem:
    return Problem("symmetric_scores", "symmetric", blocks(n, m), m, ("x",))


def _returned(n: int, m: int) -> Problem:
    return Problem("symmetric_returned", "symmetric", blocks(n, m), m, ("x",), returned=True)


def _total(n: int, m: int) -> Problem:
    return Problem("symmetric_total", "symmetric", blocks(n, m), m, ("x",), complete=True)


def _contiguous(n: int, m: int) -> Problem:
    return Problem("causal_contiguous", "causal", blocks(n, m), m, ("k",))


def _striped(n: int, m: int) -> Problem:
    return Problem("causal_striped", "causal", stripes(n, m), m, ("k",))


def _balanced(n: int, m: int) -> Problem:
    return Problem("causal_balanced", "causal", balanced(n, m), m, ("k",))


def _moving(n: int, m: int) -> Problem:
    return Problem("causal_moving", "causal", blocks(n, m), m, ("q", "k"))


PROBLEMS: dict[str, Callable[[int, int], Problem]] = {
    "general": _general,
    "symmetric_total": _total,
    "symmetric_scores": _scores,
    "symmetric_returned": _returned,
    "causal_balanced": _balanced,
    "causal_contiguous": _contiguous,
    "causal_striped": _striped,
    "causal_moving": _moving,
}
"""By name, each scheme's first one the one that is meant where none is named."""


def problem_named(name: str, n: int, m: int) -> Problem:
    """The problem of that name for n vectors and m elements.

    Raises ScheduleError: an unknown name; m does not divide n.
    """
    if name not in PROBLEMS:
        raise ScheduleError(f"unknown problem {name!r}; {suggest(name, PROBLEMS)}")
    if n < 1 or m < 1 or n % m:
        fitting = [str(k) for k in range(1, n + 1) if n % k == 0]
        raise ScheduleError(
            f"elements must divide vectors: vectors={n}, elements={m}; "
            f"use {', '.join(fitting) or 'vectors above 0'}"
        )
    return PROBLEMS[name](n, m)
