"""The schedules that can be generated, by name, and how many cycles each takes in closed form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from harness.errors import ScheduleError, suggest
from harness.schedule.halves import causal_half, half_fused, half_ring
from harness.schedule.model import Schedule
from harness.schedule.rotation import contiguous, ring, striped, zigzag
from harness.schedule.sizes import check_sizes

Generator = Callable[[int, int], Schedule]
Cycles = int | tuple[int, int]
"""How many cycles, or the least and the most."""

GENERATORS: dict[str, Generator] = {
    "ring": ring,
    "half_ring": half_ring,
    "half_fused": half_fused,
    "contiguous": contiguous,
    "striped": striped,
    "zigzag": zigzag,
    "causal_half": causal_half,
}
"""Complete schedules of n vectors on m elements."""

SCORES: dict[str, Generator] = {
    "ring": partial(ring, scores=True),
    "half_ring": partial(half_ring, scores=True),
    "contiguous": partial(contiguous, scores=True),
    "striped": partial(striped, scores=True),
    "zigzag": partial(zigzag, scores=True),
    "causal_half": partial(causal_half, scores=True),
}
"""Schedules of the scores alone, which are the first phase of those that have two."""


def closed_form(name: str, n: int, m: int, *, scores: bool = False) -> Cycles:
    """How many cycles a generated schedule takes; the least and the most of one with a tail.

    With b = n / m, rounded up:

        ring         2 n^2 / m
        half_ring    n (n + 1) / 2 m + n^2 / m
        half_fused   (n (n + 1) / 2 + n^2) / m, b merges and a tail of 0 to 6
        contiguous   2 (b (b + 1) / 2 + (m - 1) b^2)
        striped      n (b + 1)
        zigzag       n (n + 1) / m
        causal_half  n (n + 1) / m, b merges and a tail of 0 to 5

    The least leaves the merges out, which some elements do not need. scores: of the scores alone,
    half of it, for both half rings n (n + 1) / 2 m.
    ScheduleError: the name is unknown, or the sizes do not fit it.
    """
    known = SCORES if scores else GENERATORS
    if name not in known:
        raise ScheduleError(f"no such schedule: {name!r}; {suggest(name, known)}")
    check_sizes(n, m, parts=2 if name == "zigzag" else 1)
    if scores:
        return _phase(name, n, m)
    if name == "half_ring":
        return _phase("half_ring", n, m) + _phase("ring", n, m)
    if name == "half_fused":
        return _with_tail(n * (n + 1) // 2 + n * n, 6, n, m)
    if name == "causal_half":
        return _with_tail(n * (n + 1), 5, n, m)
    return 2 * _phase(name, n, m)


def register_bound(name: str, n: int, m: int, *, scores: bool = False) -> int:
    """How many vectors an element holds at most.

    With b = n / m: b for the scores of a rotation and 2 b with the values that wait; b + 2 for a
    half ring. The fused forms hold their own vectors of each kind, b sums that wait to be merged
    and the few that pass: 2 b + 2, and 4 b + 1 where causal; causal scores with q and k, 2 b + 2.
    """
    closed_form(name, n, m, scores=scores)
    b = n // m
    if name == "half_ring":
        return b + 2
    if name == "half_fused":
        return 2 * b + 2
    if name == "causal_half":
        return 2 * b + 2 if scores else 4 * b + 1
    return b if scores else 2 * b


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _phase(name: str, n: int, m: int) -> int:
    """Cycles of one phase; of a rotation both take as many."""
    b = n // m
    if name == "ring":
        return n * b
    if name == "contiguous":
        return b * (b + 1) // 2 + (m - 1) * b * b
    if name == "striped":
        return n * (b + 1) // 2
    return _ceil(n * (n + 1), 2 * m)


def _with_tail(products: int, tail: int, n: int, m: int) -> Cycles:
    """Of one element exactly its products: it has no sums of others to merge."""
    least = _ceil(products, m)
    return least if m == 1 else (least, least + n // m + tail)
