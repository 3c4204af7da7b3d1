"""Schedules as data: who owns a vector, what each element does and what it sends, by cycle.

The machine: m processing elements in a ring that goes one way, p to p + 1 modulo m, and n vectors,
of which element `owner[i]` holds the i-th at the start. An element does one operation a cycle. What
is sent in a cycle arrives beside the operation and may be used, or sent on, in the next cycle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Scheme = Literal["general", "symmetric", "causal"]
"""general: q, k, v differ, every pair; symmetric: q = k = v, a score serves both of its pairs;
causal: query i attends to keys j <= i."""

SCHEMES: tuple[Scheme, ...] = ("general", "symmetric", "causal")


VectorKind = Literal["q", "k", "v", "x"]
"""What an element owns: a query, a key, a value, or x where the three are one."""


class Operation(NamedTuple):
    """What an element does in one cycle.

    score(i, j): q_i . k_j, which it then holds; of a symmetric scheme i <= j or i >= j, once.
    weigh(i, j): out_i += weight(score(i, j)) v_j, into the sum of i that is held here: the home one
    at the owner of i, elsewhere a partial one that is begun here or came along.
    merge(i, i): adds a partial sum of i to the home one, at the owner of i.
    """

    kind: Literal["score", "weigh", "merge"]
    i: int
    j: int

    def __str__(self) -> str:
        """As in S(1,2), W(1,2), M(1)."""
        return (
            f"M({self.i})" if self.kind == "merge" else f"{self.kind[0].upper()}({self.i},{self.j})"
        )


class Item(NamedTuple):
    """What a link carries: a vector q, k, v or x (q = k = v), a score, or a partial sum of out_i.

    Of a score i and j are its pair, else both are the vector's index.
    """

    kind: Literal["q", "k", "v", "x", "score", "partial"]
    i: int
    j: int

    def __str__(self) -> str:
        """As in k3, s(1,2), o1."""
        if self.kind == "score":
            return f"s({self.i},{self.j})"
        return f"{'o' if self.kind == 'partial' else self.kind}{self.i}"


def vector(kind: Literal["q", "k", "v", "x", "partial"], i: int) -> Item:
    """The i-th vector of a kind."""
    return Item(kind, i, i)


def owned_kinds(scheme: Scheme) -> tuple[VectorKind, ...]:
    """The kinds of vector that an owner holds at the start: x alone where q = k = v."""
    return ("x",) if scheme == "symmetric" else ("q", "k", "v")


class Reads:
    """The vectors that operations need, sums apart: q_i and k_j, or v_j; x where q = k = v."""

    def __init__(self, vectors: int, scheme: Scheme) -> None:
        kinds: tuple[VectorKind, VectorKind, VectorKind] = ("q", "k", "v")
        if scheme == "symmetric":
            kinds = ("x", "x", "x")
        queries, keys, values = kinds
        # Made once: a schedule reads each of them many times.
        self._q = [Item(queries, i, i) for i in range(vectors)]
        self._k = [Item(keys, i, i) for i in range(vectors)]
        self._v = [(Item(values, i, i),) for i in range(vectors)]

    def of(self, operation: Operation) -> tuple[Item, ...]:
        """What one operation needs."""
        kind, i, j = operation
        if kind == "score":
            return self._q[i], self._k[j]
        return self._v[j] if kind == "weigh" else ()


def score_pair(i: int, j: int, scheme: Scheme) -> tuple[int, int]:
    """The pair under which a score is known: of a symmetric scheme the lesser index first."""
    return (j, i) if scheme == "symmetric" and j < i else (i, j)


def pair_is_asked(kind: Literal["score", "weigh"], i: int, j: int, scheme: Scheme) -> bool:
    """Whether the scheme asks for the product of a pair, a symmetric score taken as its pair."""
    if scheme == "causal":
        return j <= i
    return scheme == "general" or kind == "weigh" or i <= j


@dataclass(frozen=True)
class Schedule:
    """What each element does and sends in each cycle.

    operations[t][p]: the operation of element p in cycle t, None if it waits; sends[t][p]: what p
    sends to p + 1 in cycle t. registers: vectors that an element may hold, its own that move
    included (home sums, and q where q stays, are not counted); vector_links, score_links: how many
    of each a link carries in a cycle; None: no limit. complete: False of a schedule that computes
    the scores alone.
    """

    name: str
    scheme: Scheme
    owner: tuple[int, ...]
    elements: int
    operations: tuple[tuple[Operation | None, ...], ...]
    sends: tuple[tuple[tuple[Item, ...], ...], ...]
    registers: int | None = None
    vector_links: int | None = 1
    score_links: int | None = None
    complete: bool = True

    @property
    def vectors(self) -> int:
        """n, how many vectors there are."""
        return len(self.owner)

    @property
    def cycles(self) -> int:
        """How many cycles it takes."""
        return len(self.operations)

    def owned(self, element: int) -> tuple[int, ...]:
        """The vectors that an element owns."""
        return tuple(i for i, owner in enumerate(self.owner) if owner == element)


def blocks(n: int, m: int) -> tuple[int, ...]:
    """Owners where each element has n / m consecutive vectors."""
    return tuple(i * m // n for i in range(n))


def stripes(n: int, m: int) -> tuple[int, ...]:
    """Owners where element p has the vectors p, p + m, p + 2 m, ..."""
    return tuple(i % m for i in range(n))


def zigzags(n: int, m: int) -> tuple[int, ...]:
    """Owners where element p has the p-th and the p-th last of 2 m equal parts."""
    parts = [i * 2 * m // n for i in range(n)]
    return tuple(min(part, 2 * m - 1 - part) for part in parts)
